"""Tests of resnet8.sweep."""
