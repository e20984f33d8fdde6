"""How the numbers of a quantization are decided."""
