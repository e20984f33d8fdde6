"""Exact arithmetic of quantized models: the expected code of every tensor."""
