"""Tests that the pipeline gives the same bytes on emulated CPUs; `make test-cpus` runs them."""
