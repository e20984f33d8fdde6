"""Hostile and broken input: every case ends in one sentence, with nothing written and nothing run.

A module for each kind of input, each with a table of cases. `harness` defines a refusal;
`test_batches` also proves that the payloads would have run, had the pipeline trusted its input.
"""
