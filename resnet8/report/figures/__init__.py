"""Figures, with Matplotlib."""
