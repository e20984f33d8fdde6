"""Tests of resnet8.models."""
