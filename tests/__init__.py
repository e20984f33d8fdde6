"""Tests, named for the fact that each holds."""
