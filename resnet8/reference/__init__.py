"""Exact arithmetic on quantization parameters: what each code of a quantized model must be."""
