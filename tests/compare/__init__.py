"""Tests of resnet8.compare."""
