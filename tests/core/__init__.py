"""Tests of resnet8.core."""
