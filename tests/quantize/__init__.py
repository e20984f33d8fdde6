"""Tests of resnet8.quantize."""
