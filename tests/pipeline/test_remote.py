"""Sharing results through a DVC remote: a real OpenSSH server, two clones, and failures."""

import os
from pathlib import Path
from typing import Literal

import pytest
import yaml

from samples.demo import SAMPLE_PARAMS, make_project
from tests.pipeline.commands import (
    flip_a_byte,
    repro,
    run,
    set_params,
    stages_run,
)
from tests.pipeline.sharing import (
    Team,
    assert_up_to_date,
    checked,
    make_repository,
    shown,
)
from tests.pipeline.ssh_server import Network

# The pipeline's beginning, real stages and data, takes seconds; test_sample.py has it whole.
STAGES = ("validate", "fetch", "prepare", "calibrate")
FAILURE = 8_000_000  # bytes: about a third of what is pushed
WAIT_SECONDS = 1800  # enough on a busy machine for what always comes


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Git repository in which the beginning of the pipeline has run on the sample."""
    folder = tmp_path_factory.mktemp("origin") / "project"
    make_project(folder, SAMPLE_PARAMS)
    pipeline = yaml.safe_load((folder / "dvc.yaml").read_text())
    stages = {name: pipeline["stages"][name] for name in STAGES}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    done = repro(folder)
    assert stages_run(done.stdout) == set(STAGES), done.stdout
    make_repository(folder)
    return folder


@pytest.fixture
def first(origin: Path, team: Team) -> Path:
    """The clone that has the data, with the team's remote."""
    (origin / ".dvc" / "config.local").unlink(missing_ok=True)
    team.set_up(origin)
    return origin


def assert_whole(team: Team) -> None:
    """Checks that each object has the content that its name says."""
    assert {name: md5 for name, md5 in team.objects().items() if name != md5} == {}


def fail(
    team: Team, network: Network, clone: Path, command: str, how: Literal["cut", "hang"]
) -> None:
    """Runs a push or pull in which the network fails in the middle."""
    network.fail_after(FAILURE, how)
    if how == "hang":
        team.limit_silence()
    done = team.dvc(clone, command)
    assert network.failed.is_set()
    assert done.returncode != 0
    assert "ERROR: failed to transfer" in done.stdout
    network.heal()
    team.allow_silence()


@pytest.mark.faults
def test_dvc_accepts_what_the_document_says_about_s3(tmp_path: Path) -> None:
    checked(tmp_path, "dvc", "init", "--no-scm", "--quiet")
    _installation, *lines = shown('pip install "dvc[s3]"').splitlines()
    lines += shown("dvc remote modify --local team endpointurl").splitlines()
    for line in lines:
        checked(tmp_path, "sh", "-c", line)
    assert "s3://our-bucket/resnet8" in checked(tmp_path, "dvc", "remote", "list")


@pytest.mark.faults
@pytest.mark.parametrize("how", ["cut", "hang"])
def test_the_next_push_and_pull_finish_what_a_failure_left(
    team: Team, network: Network, first: Path, tmp_path: Path, how: Literal["cut", "hang"]
) -> None:
    fail(team, network, first, "push", how)
    assert_whole(team)
    partly = set(team.objects())
    team.must(first, "push")
    assert_whole(team)
    assert partly < set(team.objects())
    assert "in sync" in team.must(first, "status", "--cloud")

    second = team.clone(first, tmp_path / "second")
    fail(team, network, second, "pull", how)
    team.must(second, "pull")
    assert_up_to_date(second)
    assert_up_to_date(first)


@pytest.mark.faults
def test_a_server_that_is_silent_before_login_is_given_up_after_the_timeout(
    team: Team, network: Network, first: Path
) -> None:
    modify = ("remote", "modify", "--local", "team", "timeout")
    team.must(first, *modify, "3")
    network.fail_after(0, "hang")
    done = team.dvc(first, "push")
    assert done.returncode != 0
    assert "ERROR: unexpected error" in done.stdout
    network.heal()
    team.must(first, *modify, str(WAIT_SECONDS))  # how long a busy machine's server may take
    team.must(first, "push")


@pytest.mark.faults
def test_the_documented_command_removes_what_a_broken_upload_left_and_no_more(
    team: Team, network: Network, first: Path
) -> None:
    fail(team, network, first, "push", "cut")
    team.must(first, "push")
    objects = team.objects()
    old, *recent = team.leftovers()
    os.utime(old, (0, 0))
    _, command = shown("cd /srv/dvc/resnet8").splitlines()
    checked(team.storage / "files" / "md5", "sh", "-c", command)
    assert team.leftovers() == recent
    assert team.objects() == objects


@pytest.mark.faults
def test_a_damaged_object_is_refused_found_and_replaced_as_documented(
    team: Team, first: Path, tmp_path: Path
) -> None:
    team.must(first, "push")
    files = team.storage / "files" / "md5"
    find = shown("find ?? ")
    assert checked(files, "sh", "-c", find) == ""
    pushed = team.objects()
    lock = yaml.safe_load((first / "dvc.lock").read_text())
    outputs = {out["path"]: out["md5"] for out in lock["stages"]["prepare"]["outs"]}
    single = outputs["data/cifar10/test_images.npy"]
    in_folder = checked(first, "md5sum", "data/raw/model.h5").split()[0]
    names = [f"{md5[:2]}/{md5[2:]}" for md5 in (single, in_folder)]
    for name in names:
        flip_a_byte(files / name)

    second = team.clone(first, tmp_path / "second")
    refused = team.dvc(second, "pull")
    assert refused.returncode != 0
    assert "data/cifar10/test_images.npy" in refused.stdout
    assert "data/raw" in refused.stdout
    assert not (second / "data/cifar10/test_images.npy").exists()
    assert not (second / "data/raw/model.h5").exists()

    assert sorted(checked(files, "sh", "-c", find).split()) == sorted(names)
    for name in names:
        (files / name).unlink()
    checked(files, "sh", "-c", "rm */*.dir")
    team.must(first, "push", "--all-commits")
    assert team.objects() == pushed
    assert_whole(team)
    team.must(second, "pull")
    assert_up_to_date(second)


@pytest.mark.faults
def test_without_verify_a_damaged_object_is_taken_for_whole(
    team: Team, first: Path, tmp_path: Path
) -> None:
    # The reason why the document says to set it; when this fails, it need not any more.
    team.must(first, "push")
    lock = yaml.safe_load((first / "dvc.lock").read_text())
    md5 = lock["stages"]["calibrate"]["outs"][0]["md5"]
    flip_a_byte(team.storage / "files" / "md5" / md5[:2] / md5[2:])
    second = team.clone(first, tmp_path / "second")
    team.must(second, "remote", "modify", "--local", "team", "verify", "false")
    team.must(second, "pull")
    assert_up_to_date(second)


@pytest.mark.faults
def test_the_run_cache_brings_results_that_are_not_committed(
    team: Team, first: Path, tmp_path: Path
) -> None:
    runner, other = (team.clone(first, tmp_path / name) for name in ("runner", "other"))
    team.must(first, "push")
    push, bring = shown("dvc push --run-cache").splitlines()
    for clone in (runner, other):
        team.must(clone, "pull")
        set_params(clone, calibrate={"size": 300})
    assert stages_run(repro(runner).stdout) == {"validate", "calibrate"}
    checked(runner, *push.split(), HOME=str(team.home))
    again = run(other, *bring.split(), HOME=str(team.home))
    assert "Stage 'calibrate' is cached - skipping run" in again.stdout
    assert stages_run(again.stdout) == {"validate"}
    assert (other / "dvc.lock").read_bytes() == (runner / "dvc.lock").read_bytes()
