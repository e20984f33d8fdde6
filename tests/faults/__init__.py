"""Tests that disturb whole runs of the pipeline; `make test-faults` runs them."""
