"""Tests of the recommendation and the model card."""
