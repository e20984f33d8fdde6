"""Tests of resnet8.inspection."""
