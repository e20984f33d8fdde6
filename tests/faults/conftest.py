"""Fixtures of all tests of faults."""

from tests.faults.projects import chain, finished, small_model
from tests.pipeline.conftest import network, server, team

__all__ = ["chain", "finished", "network", "server", "small_model", "team"]
