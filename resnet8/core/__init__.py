"""Parameters, files, errors, processes, data and predictions; no framework."""
