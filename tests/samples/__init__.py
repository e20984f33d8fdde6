"""Tests of the sample data set."""
