"""What quantization learns from the calibration images, once for all runtimes."""
