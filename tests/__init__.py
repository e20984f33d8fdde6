"""Tests; the name of each states the fact that it checks."""
