"""Compares the predictions of variants, image by image."""
