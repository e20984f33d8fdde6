"""The record of finished runs grows by whole lines and survives what interrupts it."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet8.core.errors import ArtifactError
from resnet8.sweep.record import COLUMNS, KEY, SETTINGS, Finished, append, key_of, read, tidy
from tests.sweep.results import IDENTITY, make_result, make_run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "runs.csv").touch()
    return tmp_path / "runs.csv"


def finished(**changes: Any) -> Finished:
    return Finished(key_of(make_run(**changes), IDENTITY), make_result(lost=[1, 5], won=[3]))


def test_append_writes_a_header_once_and_a_line_for_each_run(path: Path) -> None:
    for seed in range(3):
        append(path, finished(calibrate__seed=seed))
    lines = path.read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 4


def test_read_gives_back_what_was_appended(path: Path) -> None:
    rows = [finished(calibrate__seed=seed, fit__float_layers=["a,b", 'c"']) for seed in range(3)]
    for row in rows:
        append(path, row)
    assert read(path) == dict(rows)


@given(kl=st.floats(0, 16), size=st.integers(1, 2**40), wide=st.booleans())
def test_read_gives_floats_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, kl: float, size: int, wide: bool
) -> None:
    path = tmp_path_factory.mktemp("record") / "runs.csv"
    path.touch()
    result = make_result(kl_divergence=kl, file_bytes=size)
    result = result._replace(saturating_products=wide)
    append(path, Finished(key_of(make_run(), IDENTITY), result))
    assert list(read(path).values()) == [result]


def test_key_tells_every_part_of_the_identity_and_every_setting() -> None:
    others = [
        key_of(make_run(), IDENTITY),
        *(key_of(make_run(), IDENTITY._replace(**{name: "another"})) for name in IDENTITY._fields),
        key_of(make_run("onnx_uint8"), IDENTITY),
        key_of(make_run(calibrate__size=7), IDENTITY),
        key_of(make_run(calibrate__seed=7), IDENTITY),
        key_of(make_run(fit__percentile=99.0), IDENTITY),
        key_of(make_run(fit__float_layers=["dense"]), IDENTITY),
        key_of(make_run(fit__bias_correction=False), IDENTITY),
    ]
    assert len(set(others)) == len(others)
    assert {len(key.cells) for key in others} == {len(KEY)}
    assert {len(key.settings) for key in others} == {len(SETTINGS)}


def test_task_is_the_same_in_every_version_of_code_and_libraries() -> None:
    key = key_of(make_run(), IDENTITY)
    later = key_of(make_run(), IDENTITY._replace(code="x", libraries="y"))
    assert (key != later, key.task == later.task) == (True, True)
    assert key.task != key_of(make_run(), IDENTITY._replace(data="x")).task


def test_every_part_has_a_column_of_its_own(path: Path) -> None:
    append(path, finished())
    (line,) = csv.DictReader(path.read_text().splitlines())
    assert line["model_sha256"] == IDENTITY.model_sha256
    assert (line["data"], line["code"]) == (IDENTITY.data, IDENTITY.code)
    assert line["libraries"] == IDENTITY.libraries
    assert (line["convert_onnx.opset"], line["evaluate.batch_size"]) == ("17", "128")
    assert (line["compare.baseline"], line["variant"]) == ("keras_fp32", "onnx_int8")


def test_an_empty_file_has_no_runs(path: Path) -> None:
    assert read(path) == {}


@pytest.mark.parametrize("cut", [1, 2, 10, 100])
def test_a_line_that_was_cut_short_is_not_counted_and_made_again(path: Path, cut: int) -> None:
    first, second = finished(calibrate__seed=0), finished(calibrate__seed=1)
    append(path, first)
    append(path, second)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert read(path) == dict([first])
    append(path, second)
    assert path.read_bytes() == whole


def test_a_header_that_was_cut_short_is_written_again(path: Path) -> None:
    append(path, finished())
    whole = path.read_bytes()
    path.write_bytes(whole[:20])
    assert read(path) == {}
    append(path, finished())
    assert path.read_bytes() == whole


def test_tidy_sorts_so_that_order_does_not_tell_when_runs_finished(tmp_path: Path) -> None:
    rows = [
        finished(calibrate__size=size, variant=variant)
        for size in (5, 10, 100)
        for variant in ("onnx_int8", "torch_int8")
    ]
    contents = set()
    for name, order in {"a": rows, "b": rows[::-1], "c": rows[3:] + rows[:3]}.items():
        (tmp_path / name).touch()
        for row in order:
            append(tmp_path / name, row)
        tidy(tmp_path / name, IDENTITY)
        assert read(tmp_path / name) == dict(rows)
        contents.add((tmp_path / name).read_bytes())
    assert len(contents) == 1


def test_tidy_sorts_numbers_as_numbers(path: Path) -> None:
    for size in (100, 9, 10):
        append(path, finished(calibrate__size=size))
    tidy(path, IDENTITY)
    column = KEY.index("calibrate.size")
    assert [line.split(",")[column] for line in path.read_text().splitlines()[1:]] == [
        "9", "10", "100"
    ]  # fmt: skip


def test_tidy_replaces_runs_of_earlier_versions_that_were_made_again(path: Path) -> None:
    earlier, libraries = IDENTITY._replace(code="e" * 16), IDENTITY._replace(libraries="y")
    first, second = make_run(calibrate__seed=0), make_run(calibrate__seed=1)
    rows = {
        key_of(run, identity): make_result()
        for run, identity in (
            (first, earlier), (first, libraries), (second, earlier), (second, libraries),
            (first, IDENTITY), (first, IDENTITY._replace(model_sha256="f" * 64, code="e" * 16)),
        )
    }  # fmt: skip
    for key, result in rows.items():
        append(path, Finished(key, result))
    tidy(path, IDENTITY)
    expected = list(rows)[2:]
    assert set(read(path)) == set(expected)


def damaged(path: Path) -> str:
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match="must") as caught:
        read(path)
    assert path.read_bytes() == before
    return str(caught.value)


def test_read_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="must exist"):
        read(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"garbage", "a header of"), (b"a,b\n1,2\n", "a header of"), (b"\xff\xfe\n", "CSV in UTF-8")],
)
def test_read_refuses_another_file(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    assert f"must hold {reason}" in damaged(path)


def rewrite(path: Path, edit: Callable[[list[list[str]]], object]) -> None:
    """Edits the lines of the record by hand; the first is the header."""
    with path.open(newline="") as file:
        lines = list(csv.reader(file))
    edit(lines)
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


@pytest.mark.parametrize(
    ("name", "cell", "reason"),
    [
        ("n_images", "many", "Expecting value"),
        ("n_images", "1e3", "n_images: Input should be a valid integer"),
        ("n_images", "20000", "n_images: Input should be less than or equal to 10000"),
        ("top1_accuracy", "NaN", "top1_accuracy: Input should be a finite number"),
        ("top1_accuracy", "99.9", "top1_accuracy: Input should be less than or equal to 1"),
        ("top1_accuracy", "1.0", "top1_accuracy must fit lost, won and other"),
        ("top1_accuracy", "0.7990001", "top1_accuracy must be 0.799, by lost, won and other"),
        ("accuracy_delta_pp", "0.1", "accuracy_delta_pp must be -0.1, by lost, won and other"),
        ("mcnemar_p", "0.01", "mcnemar_p must be 1, by lost, won and other"),
        ("agreement", "1.0", "agreement must be 0.997, by lost, won and other"),
        ("kl_divergence", "-0.1", "kl_divergence: Input should be greater than or equal to 0"),
        ("saturating_products", "0", "saturating_products: Input should be a valid boolean"),
        ("lost", "3", "lost: Input should be a valid list"),
        ("lost", "[-1,5]", r"lost.0: Input should be greater than or equal to 0"),
        ("lost", "[1,3]", "lost, won and other must be different images of the test set"),
        ("lost", "[1,1]", "lost, won and other must be different images of the test set"),
        ("won", "[1.5]", "won.0: Input should be a valid integer"),
        ("won", "[" * 100_000, "maximum recursion"),
        ("file_bytes", "9" * 5000, "Exceeds the limit"),
        ("calibrate.size", "0", "calibrate.size: Input should be greater than or equal to 1"),
        ("fit.percentile", "99", "fit.percentile must be written as 99.0"),
        ("fit.weight_rounding", "up", "fit.weight_rounding: Input should be 'nearest' or 'gptq'"),
        ("fit.float_layers", "dense", "fit.float_layers: Input should be a valid list"),
        ("convert_onnx.opset", "99", "opset: Input should be less than or equal to 18"),
        ("evaluate.batch_size", "", "batch_size: Input should be a valid integer"),
        ("convert_onnx.opset", " 17", "convert_onnx.opset must be written as 17"),
        ("fit.equalization", "-0.0", "fit.equalization must be written as 0.0"),
        ("libraries", "numpy\x1b[31m", "libraries is none"),
        ("variant", "onnx_fp32", "variant is none"),
        ("compare.baseline", "mine", "compare.baseline is none"),
        ("model_sha256", "AB", "model_sha256 is none"),
        ("data", "../..", "data is none"),
    ],
)
def test_read_names_the_line_of_a_value_that_no_run_gives(
    path: Path, name: str, cell: str, reason: str
) -> None:
    append(path, finished(calibrate__seed=0))
    append(path, finished(calibrate__seed=1))
    rewrite(path, lambda lines: lines[2].__setitem__(COLUMNS.index(name), cell))
    message = damaged(path)
    assert "a finished run in line 3, got " in message
    assert f"({reason}" in message
    assert "git restore" in message
    assert len(message) < 500
    assert "\n" not in message


def test_read_refuses_a_run_that_is_there_twice(path: Path) -> None:
    append(path, finished(calibrate__seed=0))
    append(path, finished(calibrate__seed=1))
    append(path, finished(calibrate__seed=0))
    assert "a finished run in line 4, got " in damaged(path)
    assert "(the run is there twice)" in damaged(path)


def test_read_refuses_another_baseline_of_the_same_inputs(path: Path) -> None:
    append(path, finished(calibrate__seed=0))
    other = make_result(n_images=900)
    append(path, Finished(key_of(make_run(calibrate__seed=1), IDENTITY), other))
    assert "a finished run in line 3, got " in damaged(path)
    assert "(the baseline must be that of the lines above)" in damaged(path)


def test_zeros_of_both_signs_are_one_setting(path: Path) -> None:
    append(path, finished(fit__equalization=-0.0))
    assert set(read(path)) == {key_of(make_run(fit__equalization=0.0), IDENTITY)}


def test_read_holds_each_line_against_all_above(path: Path) -> None:
    for seed, lost in enumerate(([], [7])):  # the first says nothing about image 7
        result = make_result(lost=lost)
        append(path, Finished(key_of(make_run(calibrate__seed=seed), IDENTITY), result))
    read(path)
    result = make_result(won=[7])
    append(path, Finished(key_of(make_run(calibrate__seed=2), IDENTITY), result))
    assert "a finished run in line 4, got " in damaged(path)


def test_read_refuses_an_image_that_the_baseline_has_right_and_wrong(path: Path) -> None:
    append(path, finished(calibrate__seed=0))  # lost 1 and 5, won 3
    for lost, won, other in (([3], [], []), ([], [1], []), ([], [], [5])):
        result = make_result(lost=lost, won=won, other=other)
        append(path, Finished(key_of(make_run(calibrate__seed=1), IDENTITY), result))
        assert "(the baseline must be that of the lines above)" in damaged(path)
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))


def test_read_knows_the_baseline_by_model_data_and_versions(path: Path) -> None:
    rows = [
        Finished(key_of(make_run(), IDENTITY), make_result()),
        Finished(key_of(make_run(), IDENTITY._replace(data="0" * 16)), make_result(n_images=64)),
    ]
    for row in rows:
        append(path, row)
    assert read(path) == dict(rows)
