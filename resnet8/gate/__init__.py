"""The regression gate: compares metrics with those of a Git revision and decides."""
