"""Tests of the stage scripts by their command line."""
