"""Loads, runs and converts models: one module a runtime; look-ups and edits of their graphs."""
