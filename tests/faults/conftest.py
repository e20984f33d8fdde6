"""What all tests of faults share."""

from tests.faults.projects import finished

__all__ = ["finished"]
