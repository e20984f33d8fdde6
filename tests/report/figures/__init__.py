"""Tests of resnet8.report.figures."""
