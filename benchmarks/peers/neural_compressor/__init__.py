"""Intel Neural Compressor 2, the last line of it that quantizes ONNX models."""
