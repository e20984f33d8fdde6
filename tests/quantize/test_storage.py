"""Numbers in files: what is read is what was written, and nothing else is read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet8.core.errors import ArtifactError
from resnet8.quantize import storage
from resnet8.quantize.storage import ActivationNumbers, LayerNumbers, Numbers

FLOATS = st.floats(0, width=32, exclude_min=True, allow_infinity=False, allow_subnormal=False)


def made() -> Numbers:
    codes = np.arange(-8, 8, dtype=np.int8)
    return Numbers(
        {"input": ActivationNumbers(1.0, 0), "conv": ActivationNumbers(0.019708065316081047, 118)},
        {
            "conv": LayerNumbers(
                codes.reshape(2, 2, 2, 2),
                np.array([0.1, 1e-7], np.float32),
                0,
                np.array([0.25, -3], np.float32),
            ),
            "dense": LayerNumbers(codes.reshape(4, 4), np.full(4, 0.3, np.float32), -5, None),
        },
        {"conv": np.array([1, 0.01], np.float32)},
        symmetric=True,
        float_layers=("add",),
        notes=("fit.equalization: 0.5 had no effect on this model.",),
    )


def written(folder: Path) -> Path:
    storage.write(folder / "numbers", made(), {"images": 3})
    return folder / "numbers"


def content(folder: Path) -> Any:
    return json.loads((folder / "numbers.json").read_text())


def rewrite(folder: Path, **changes: Any) -> None:
    (folder / "numbers.json").write_text(json.dumps(content(folder) | changes))


# Numbers.


def test_activation_numbers_reach_from_the_first_code_to_the_last() -> None:
    numbers = ActivationNumbers(0.5, 10)
    assert (numbers.low, numbers.high) == (-5.0, 122.5)


def test_layer_numbers_weights_are_steps_from_the_zero_point() -> None:
    codes = np.array([[-5, -4], [0, 1]], np.int8)
    layer = LayerNumbers(codes, np.array([0.5, 2], np.float32), -5, None)
    assert layer.weight.tolist() == [[0.0, 0.5], [10.0, 12.0]]
    assert layer.weight.dtype == np.float32


def test_layer_numbers_weights_do_not_overflow_8_bits() -> None:
    layer = LayerNumbers(np.array([[127], [-128]], np.int8), np.ones(2, np.float32), -128, None)
    assert layer.weight.tolist() == [[255.0], [0.0]]


def test_layer_numbers_weights_have_a_scale_for_each_output() -> None:
    codes = np.ones((2, 3, 2, 2), np.int8)
    layer = LayerNumbers(codes, np.array([0.5, 2], np.float32), 0, None)
    assert layer.weight.shape == codes.shape
    assert layer.weight.mean((1, 2, 3)).tolist() == [0.5, 2.0]


# Files.


def test_read_gives_what_was_written(tmp_path: Path) -> None:
    found, expected = storage.read(written(tmp_path)), made()
    assert found.activations == expected.activations
    assert found[3:] == expected[3:]
    for name, layer in expected.layers.items():
        for ours, theirs in zip(found.layers[name], layer, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(found.factors["conv"], expected.factors["conv"])


def test_read_gives_the_types_that_were_written(tmp_path: Path) -> None:
    layer = storage.read(written(tmp_path)).layers["conv"]
    assert (layer.codes.dtype, layer.scale.dtype, layer.bias.dtype) == (
        np.int8, np.float32, np.float32,
    )  # fmt: skip


@settings(max_examples=50, deadline=None, database=None, derandomize=True)
@given(scale=FLOATS, factor=FLOATS)
def test_read_gives_every_float32_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, scale: float, factor: float
) -> None:
    folder = tmp_path_factory.getbasetemp() / "floats"
    layer = LayerNumbers(np.zeros((1, 1), np.int8), np.array([scale], np.float32), 0, None)
    numbers = Numbers(
        {"x": ActivationNumbers(scale, 0)}, {"x": layer}, {"x": np.array([factor], np.float32)}
    )
    storage.write(folder, numbers, {})
    found = storage.read(folder)
    assert found.activations["x"].scale == scale
    assert (float(found.layers["x"].scale[0]), float(found.factors["x"][0])) == (scale, factor)


def test_write_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a"), written(tmp_path / "b")
    for name in ("numbers.json", "parameters.npz"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_write_says_what_it_was_fitted_with(tmp_path: Path) -> None:
    assert content(written(tmp_path))["settings"] == {"images": 3}


def test_write_tells_people_the_ends_of_ranges(tmp_path: Path) -> None:
    assert content(written(tmp_path))["activations"]["input"] == {
        "high": 255.0, "low": 0.0, "scale": 1.0, "zero_point": 0,
    }  # fmt: skip


def test_write_refuses_numbers_that_are_none(tmp_path: Path) -> None:
    numbers = made()._replace(activations={"x": ActivationNumbers(float("nan"), 0)})
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write(tmp_path, numbers, {})


@pytest.mark.parametrize("name", ["numbers.json", "parameters.npz"])
def test_read_tells_which_file_is_missing(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path)
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=rf"numbers must hold .+, got: .*No such file.*{name}"):
        storage.read(folder)


def test_read_tells_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    folder = written(tmp_path)
    rewrite(folder, activations={"input": {"scale": -1.0, "zero_point": 0}})
    message = (
        r"numbers must hold the numbers of a quantization, got: .*activations\.input\.scale "
        r".*greater than or equal to 0.*\. Run `dvc repro` to make it again\.$"
    )
    with pytest.raises(ArtifactError, match=message):
        storage.read(folder)


def test_read_tells_a_short_reason(tmp_path: Path) -> None:
    folder = written(tmp_path)
    rewrite(folder, activations={"x" * 10_000: 5})
    with pytest.raises(ArtifactError, match="numbers must hold") as told:
        storage.read(folder)
    assert len(str(told.value)) < 600


def test_read_refuses_two_files_that_do_not_belong_together(tmp_path: Path) -> None:
    folder = written(tmp_path)
    layers = content(folder)["layers"]
    layers["conv"]["weight_scale"] = [0.1, 0.2, 0.3]
    rewrite(folder, layers=layers)
    with pytest.raises(ArtifactError, match=r"int8 \(2, 2, 2, 2\) for 3 outputs of 'conv'"):
        storage.read(folder)
