"""Decides the quantization parameters from calibration images, and writes them into models."""
