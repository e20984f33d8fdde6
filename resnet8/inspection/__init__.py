"""Layers of every variant: captures, statistics, sensitivity."""
