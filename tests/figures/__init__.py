"""Tests of resnet8.figures."""
