"""A team that shares results through a real OpenSSH server; the pipeline on CIFAR-10."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.once import cifar10
from tests.pipeline.sharing import Team
from tests.pipeline.ssh_server import MISSING, Network, Server, network_to, set_up

__all__ = ["cifar10", "network", "server", "team"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    if MISSING:
        pytest.skip(f"OpenSSH's {' and '.join(MISSING)} must be installed")
    return set_up(tmp_path_factory.mktemp("server") / "sshd")


@pytest.fixture
def network(server: Server) -> Iterator[Network]:
    with network_to(server) as network:
        yield network


@pytest.fixture
def team(server: Server, network: Network, tmp_path: Path) -> Team:
    """A team with an empty remote."""
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    return Team(tmp_path / "home", server, network.port, tmp_path / "storage")
