"""The payloads are live: trusted, each would have run."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile import payloads


@pytest.mark.parametrize("payload", payloads.LIVE, ids=lambda payload: payload.__name__)
def test_pickle_itself_runs_the_payload(tmp_path: Path, payload: Callable[[Path], bytes]) -> None:
    pickle.loads(payload(tmp_path / "ran"), encoding="bytes")
    assert (tmp_path / "ran").exists()
