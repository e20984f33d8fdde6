"""The record of finished runs grows by whole lines and survives interruptions."""

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet8.core.errors import ArtifactError
from resnet8.core.files import csv_bytes
from resnet8.core.grid import Run
from resnet8.sweep.record import COLUMNS, Key, describe_failures, keep, key_of, read
from resnet8.sweep.result import Result
from tests.sweep.results import IDENTITY, USUAL, make_result, make_run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A record without runs."""
    (tmp_path / "runs.csv").touch()
    return tmp_path / "runs.csv"


def finished(**changes: Any) -> tuple[Run, Result]:
    return make_run(**changes), make_result(lost=[1, 5], won=[3])


def keyed(*rows: tuple[Run, Result]) -> dict[Key, Result]:
    return {key_of(run, IDENTITY): result for run, result in rows}


def write(path: Path, *rows: tuple[Run, Result]) -> None:
    """Writes a record with a line for each run, as it would be without the others."""
    lines = [b""]
    for row in rows:
        path.write_bytes(b"")
        keep(path, [row], IDENTITY)
        header, line = path.read_bytes().splitlines(keepends=True)
        lines = [header, *lines[1:], line]
    path.write_bytes(b"".join(lines))


def test_keep_adds_a_line_of_all_columns_that_reads_back(path: Path) -> None:
    rows = [finished(calibrate__seed=seed, fit__float_layers=["a,b", 'c"']) for seed in range(3)]
    keep(path, rows, IDENTITY)
    lines = path.read_text().splitlines()
    assert (lines[0], len(lines)) == (",".join(COLUMNS), 4)
    assert read(path) == keyed(*rows)
    line = next(csv.DictReader(lines))
    assert line["model_sha256"] == IDENTITY.model_sha256
    assert (line["data"], line["code"]) == (IDENTITY.data, IDENTITY.code)
    assert line["libraries"] == IDENTITY.libraries
    assert (line["convert_onnx.opset"], line["evaluate.batch_size"]) == ("17", "128")
    assert (line["compare.baseline"], line["variant"]) == ("keras_fp32", "onnx_int8")


@given(kl=st.floats(0, 16), size=st.integers(1, 2**40), wide=st.booleans())
def test_floats_read_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, kl: float, size: int, wide: bool
) -> None:
    path = tmp_path_factory.mktemp("record") / "runs.csv"
    path.touch()
    result = make_result(kl_divergence=kl, file_bytes=size)._replace(saturating_products=wide)
    assert keep(path, [(make_run(), result)], IDENTITY) == []
    assert list(read(path).values()) == [result]


def test_key_differs_in_every_part_of_the_identity_and_every_setting() -> None:
    keys = [
        key_of(make_run(), IDENTITY),
        *(key_of(make_run(), IDENTITY._replace(**{name: "another"})) for name in IDENTITY._fields),
        key_of(make_run("onnx_uint8"), IDENTITY),
        key_of(make_run(calibrate__size=7), IDENTITY),
        key_of(make_run(calibrate__seed=7), IDENTITY),
        key_of(make_run(fit__percentile=99.0), IDENTITY),
        key_of(make_run(fit__float_layers=["dense"]), IDENTITY),
        key_of(make_run(fit__bias_correction=False), IDENTITY),
    ]
    assert len(set(keys)) == len(keys)
    # Versions of code and libraries do not change what there is to do.
    assert [n for n, key in enumerate(keys) if key.task == keys[0].task] == [0, 3, 4]


def test_zeros_of_both_signs_are_one_setting(path: Path) -> None:
    keep(path, [finished(fit__equalization=-0.0)], IDENTITY)
    assert set(read(path)) == {key_of(make_run(fit__equalization=0.0), IDENTITY)}


@pytest.mark.parametrize("cut", [1, 2, 10, 100])
def test_an_incomplete_last_line_is_ignored_and_made_again(path: Path, cut: int) -> None:
    first, second = finished(calibrate__seed=0), finished(calibrate__seed=1)
    keep(path, [first, second], IDENTITY)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert read(path) == keyed(first)
    keep(path, [second], IDENTITY)
    assert path.read_bytes() == whole


def test_keep_writes_each_run_before_the_next_and_returns_those_that_failed(path: Path) -> None:
    runs = [make_run(calibrate__seed=seed, fit__float_layers=["nope"]) for seed in range(3)]

    def outcomes() -> Any:
        yield runs[2], make_result()
        assert len(read(path)) == 1
        yield runs[0], "no such layer"
        raise KeyboardInterrupt

    assert read(path) == {}
    with pytest.raises(KeyboardInterrupt):
        keep(path, outcomes(), IDENTITY)
    assert set(read(path)) == {key_of(runs[2], IDENTITY)}
    failed = keep(path, [(x, "no such layer") for x in runs[:2]], IDENTITY)
    assert failed == [(x, "no such layer") for x in runs[:2]]
    assert describe_failures(failed, USUAL) == (
        "failed: onnx_int8, float_layers [nope]; onnx_int8, seed 1, float_layers [nope]\n"
        "  no such layer"
    )


def test_record_has_numbers_sorted_as_numbers_whatever_the_order_of_runs(path: Path) -> None:
    rows = [
        finished(calibrate__size=size, variant=variant)
        for variant in ("onnx_int8", "torch_int8")
        for size in (9, 10, 100)
    ]
    for order in (rows, rows[::-1], rows[3:] + rows[:3]):
        path.write_bytes(b"")
        keep(path, order, IDENTITY)
        assert list(read(path).items()) == list(keyed(*rows).items())


def test_runs_of_earlier_versions_stay_until_they_are_made_again(path: Path) -> None:
    first, second = make_run(calibrate__seed=0), make_run(calibrate__seed=1)
    code, libraries = IDENTITY._replace(code="e" * 16), IDENTITY._replace(libraries="y")
    elsewhere = code._replace(model_sha256="f" * 64)
    for identity, run in ((code, first), (libraries, second), (elsewhere, first)):
        keep(path, [(run, make_result())], identity)
    assert len(read(path)) == 3
    keep(path, [(first, make_result())], IDENTITY)
    expected = ((first, IDENTITY), (second, libraries), (first, elsewhere))
    assert set(read(path)) == {key_of(*x) for x in expected}


def test_each_model_data_and_version_has_a_baseline_of_its_own(path: Path) -> None:
    other = IDENTITY._replace(data="0" * 16)
    keep(path, [(make_run(), make_result())], IDENTITY)
    keep(path, [(make_run(), make_result(n_images=64))], other)
    assert {key.shared: x.n_images for key, x in read(path).items()} == {other: 64, IDENTITY: 1000}


def damaged(path: Path) -> str:
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match="must") as caught:
        read(path)
    assert path.read_bytes() == before
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"garbage", "a header of"),
        (",".join(COLUMNS).encode(), "a header of"),
        (b"a,b\n1,2\n", "a header of"),
        (b"\xff\xfe\n", "CSV in UTF-8"),
    ],
)
def test_read_refuses_another_file(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    assert f"must hold {reason}" in damaged(path)


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
        ("libraries", "numpy\x1b[31m", "libraries: String should match"),
        ("variant", "onnx_fp32", "variant must be out of onnx_int8"),
        ("compare.baseline", "mine", "baseline: String should match"),
        ("model_sha256", "AB", "model_sha256: String should match"),
        ("data", "../..", "data: String should match"),
    ],
)
def test_read_names_the_line_of_a_value_that_no_run_gives(
    path: Path, name: str, cell: str, reason: str
) -> None:
    keep(path, [finished(calibrate__seed=0), finished(calibrate__seed=1)], IDENTITY)
    with path.open(newline="") as file:
        lines = list(csv.reader(file))
    lines[2][COLUMNS.index(name)] = cell
    path.write_bytes(csv_bytes(lines[0], lines[1:]))
    message = damaged(path)
    assert "a finished run in line 3, got " in message
    assert f"({reason}" in message
    assert "git restore" in message
    assert len(message) < 500
    assert "\n" not in message


@pytest.mark.parametrize(
    ("figures", "seed", "reason"),
    [
        ({}, 0, "the run is repeated"),
        ({"n_images": 900}, 1, "the baseline must match the lines above"),
        # An image that the baseline has right and wrong; the first line lost 1 and 5 and won 3.
        ({"lost": [3]}, 1, "the baseline must match the lines above"),
        ({"won": [1]}, 1, "the baseline must match the lines above"),
        ({"other": [5]}, 1, "the baseline must match the lines above"),
    ],
)
def test_read_refuses_a_line_that_contradicts_one_above(
    path: Path, figures: Any, seed: int, reason: str
) -> None:
    silent = (make_run(calibrate__seed=2), make_result())  # says nothing of image 3
    write(path, finished(), silent, (make_run(calibrate__seed=seed), make_result(**figures)))
    message = damaged(path)
    assert "a finished run in line 4, got " in message
    assert f"({reason})" in message
