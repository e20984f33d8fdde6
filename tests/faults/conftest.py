"""What all tests of faults share."""

from tests.faults.projects import finished
from tests.pipeline.conftest import network, server, team

__all__ = ["finished", "network", "server", "team"]
