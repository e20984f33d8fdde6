"""Fixtures of all tests of faults."""

from tests.faults.projects import finished, small_model
from tests.pipeline.conftest import network, server, team

__all__ = ["finished", "network", "server", "small_model", "team"]
