"""Path of the tests' parameters."""

from pathlib import Path

# The user's own ../params.yaml is an input of the pipeline and none of its tests.
TEST_PARAMS = Path(__file__).with_name("params.yaml")
