"""Tests of resnet8.inside."""
