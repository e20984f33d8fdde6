"""Measures how fast the pipeline is, and what other quantizers make of the same model."""
