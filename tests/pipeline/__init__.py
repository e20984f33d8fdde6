"""Tests that run the whole pipeline."""
