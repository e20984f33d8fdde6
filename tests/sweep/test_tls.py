"""TLS as docs/cluster.md sets it up: its commands and its file, on loopback."""

import os
import re
import shlex
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import dask
import pytest

from resnet8.core.errors import ClusterError
from resnet8.sweep import cluster as module
from resnet8.sweep.cluster import open_client
from tests.pipeline.commands import ROOT, run
from tests.sweep.dask_commands import PATIENCE_SECONDS, Cluster, dask_cluster

PAGE = (ROOT / "docs/cluster.md").read_text()
ADDRESS = "tls://10.0.0.1:8786"
SECTION = PAGE.split("\n## TLS in a few commands\n")[1].split("\n## ")[0]

pytestmark = pytest.mark.skipif(not which("openssl"), reason="openssl is not installed")


def commands(*starts: str) -> list[str]:
    """The commands of the section that start with these words, in its order."""
    return [x for x in re.findall(r"^    (\S.*)$", SECTION, re.MULTILINE) if x.startswith(starts)]


def set_up(home: Path) -> Path:
    """Makes key and settings in a home folder, as the section does; returns their folder."""
    script = "\n".join(commands("mkdir", "openssl", "chmod"))
    variables = {**os.environ, "HOME": str(home)}
    subprocess.run(["sh", "-ec", script], env=variables, check=True, capture_output=True)
    (settings,) = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    assert "/home/alice/" in settings
    folder = home / ".config/dask"
    (folder / "tls.yaml").write_text(settings.replace("/home/alice/", f"{home}/"))
    return folder


def settings_of(*folders: Path, **more: str) -> Any:
    """Dask's configuration in this process: its defaults, the files of these folders, and more."""
    configs = dask.config.collect_yaml([str(x) for x in folders])
    merged = dask.config.merge(*dask.config.defaults, *configs)
    return dask.config.set(merged | {f"distributed.comm.tls.{x}": y for x, y in more.items()})


def refused(address: str) -> str:
    """The sentence with which a sweep at an address is refused."""
    with (
        pytest.raises(ClusterError, match=r"check the TLS settings \(docs/cluster.md\)") as caught,
        dask.config.set({"scheduler-address": address}),
        open_client(n_workers=1),
    ):
        pass
    return str(caught.value)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def folder(home: Path) -> Path:
    return set_up(home)


@pytest.fixture(scope="module")
def cluster(
    folder: Path, home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """The section's scheduler, with one worker."""
    (scheduler,), (worker,) = commands("dask scheduler"), commands("dask worker")
    options = shlex.split(scheduler)[2:]
    where = tmp_path_factory.mktemp("cluster")
    with dask_cluster(where, options, HOME=str(home)) as cluster:
        here = worker.replace(ADDRESS, cluster.address).replace("--nworkers 16", "--nworkers 1")
        cluster.start(*shlex.split(here)[1:], "--host", "127.0.0.1")
        yield cluster


def test_page_makes_a_key_for_its_owner_alone_and_names_one_address(folder: Path) -> None:
    assert stat.S_IMODE((folder / "tls.pem").stat().st_mode) == 0o600
    (worker,) = commands("dask worker")
    assert worker.split()[2] == ADDRESS
    assert "--nworkers 16" in worker
    assert commands("make") == [f"make sweep SCHEDULER={ADDRESS}"]


@pytest.mark.parametrize("is_local", [True, False])
def test_all_that_listens_is_behind_the_key_and_web_pages_are_gone(
    folder: Path, cluster: Cluster, is_local: bool
) -> None:
    address = None if is_local else cluster.address
    with (
        settings_of(folder),
        dask.config.set({"scheduler-address": address}),
        open_client(n_workers=1) as client,
    ):
        client.wait_for_workers(1, timeout=PATIENCE_SECONDS)
        scheduler = client.scheduler_info(n_workers=-1)
        (worker,) = scheduler["workers"].values()
        nodes = [scheduler["address"], *scheduler["workers"], worker["nanny"]]
        assert all(x.startswith("tls://127.0.0.1:") for x in nodes)
        for node in (scheduler, worker):  # a page that Dask serves without settings
            page = f"http://127.0.0.1:{node['services']['dashboard']}/health"
            with pytest.raises(urllib.error.HTTPError, match="404") as caught:
                urllib.request.urlopen(page)
            caught.value.close()


def test_client_without_the_key_is_refused(cluster: Cluster, folder: Path, tmp_path: Path) -> None:
    with settings_of():
        assert "TLS expects" in refused(cluster.address)
        assert "cannot be reached" in refused(cluster.address.replace("tls://", "tcp://"))
    other = set_up(tmp_path)  # has another key
    with settings_of(other):
        assert "TLS certificate does not match" in refused(cluster.address)
    # Trusting the scheduler does not make the scheduler trust.
    with settings_of(other, **{"ca-file": str(folder / "tls.pem")}):
        assert "cannot be reached" in refused(cluster.address)


def test_settings_that_require_tls_refuse_an_address_without_it_and_missing_keys(
    folder: Path, tmp_path: Path
) -> None:
    open_to_all = dask_cluster(tmp_path, HOME=str(tmp_path))
    with open_to_all as cluster, settings_of(folder):
        assert cluster.address.startswith("tcp://")
        assert "encryption required by Dask configuration" in refused(cluster.address)
    with settings_of(folder, **{"client.cert": "nowhere.pem"}):
        assert "No such file" in refused("tls://127.0.0.1:1")
    expected = r"must start on this machine, got: .*No such file.* docs/cluster.md has the TLS"
    with (
        settings_of(folder, **{"scheduler.cert": "nowhere.pem"}),
        pytest.raises(ClusterError, match=expected),
        open_client(n_workers=1),
    ):
        pass


def test_listener_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.5)
    with settings_of(), socket.create_server(("127.0.0.1", 0)) as silent:
        assert "TimeoutError" in refused(f"tcp://127.0.0.1:{silent.getsockname()[1]}")


CLIENT = """
from resnet8.core.processes import run_stage
from resnet8.sweep.cluster import open_client

def main():
    with open_client(n_workers=1) as client:
        print("connected to", client.scheduler.address)

run_stage(main)
"""


@pytest.mark.parametrize("has_key", [True, False])
def test_sweep_finds_the_settings_in_the_home_folder_and_ends_with_a_sentence_without(
    cluster: Cluster, home: Path, tmp_path: Path, has_key: bool
) -> None:
    where = {"HOME": str(home if has_key else tmp_path), "DASK_SCHEDULER_ADDRESS": cluster.address}
    ended = run(ROOT, sys.executable, "-c", CLIENT, **where)
    if has_key:
        assert (ended.returncode, ended.stdout) == (0, f"connected to {cluster.address}\n")
    else:
        assert ended.returncode == 1
        assert "DASK_SCHEDULER_ADDRESS must be the address of a Dask scheduler" in ended.stdout
        assert len(ended.stdout.splitlines()) == 1, ended.stdout
