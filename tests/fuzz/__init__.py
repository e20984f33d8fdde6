"""Coverage-guided fuzzing of what reads files from outside; see `python -m tests.fuzz --help`."""
