"""Intel's ONNX Neural Compressor."""
