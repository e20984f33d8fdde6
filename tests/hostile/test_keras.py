"""Model files, as `convert_onnx` reads them."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from stages import convert_onnx
from tests.hostile.harness import MARKER, Case, refuse, table, write_arrays, write_params
from tests.hostile.keras_files import (
    FORM,
    KERNEL,
    NONE,
    TOTAL,
    bomb,
    build,
    edited,
    first_kernel,
    keras,
    layer,
    legacy,
    link,
    marking,
    members,
    put,
    raw,
    replace,
    saved,
    set_legacy,
    weights,
    with_lambda,
)
from tests.hostile.keras_sizes import SIZES


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a valid model in both formats."""
    folder = tmp_path_factory.mktemp("valid")
    model = build()
    for suffix in ("h5", "keras"):
        model.save(folder / f"model.{suffix}")
    return folder


FINITE = (
    r"The model's weights must be finite, got NaN or infinity in {} \(\S+\)\. "
    r"Choose another fetch\.model\."
)
FAR = h5py.ExternalLink("/etc/passwd", "/x")


CASES = table(
    # No model.
    raw("empty .h5", "Unable to .+ open file .+", "h5", lambda _: b""),
    raw("an error page as .h5", "Unable to .+ open file .+", "h5", lambda _: b"<!DOCTYPE html>"),
    raw("a cut .h5", "Unable to .+ open file .truncated.+", "h5", lambda x: x[: len(x) // 2]),
    raw("a .keras as .h5", "Unable to .+ open file .+", "h5", lambda _: b"PK\x03\x04" + bytes(99)),
    raw("empty .keras", "File is not a zip file", "keras", lambda _: b""),
    raw("an .h5 as .keras", "File is not a zip file", "keras", lambda _: b"\x89HDF\r\n\x1a\n"),
    raw("a cut .keras", "File is not a zip file", "keras", lambda x: x[: len(x) // 2]),
    raw("a damaged .keras", ".+", "keras", lambda x: x[:200] + bytes(4000) + x[4200:]),
    legacy(
        "an .h5 of weights alone",
        "No model config found in .+",
        lambda f: f.attrs.pop("model_config"),
    ),
    legacy("a number as configuration", ".+", lambda f: f.attrs.__setitem__("model_config", 5)),
    legacy(
        "deep JSON in .h5",
        ".+recursion.+",
        lambda f: f.attrs.__setitem__("model_config", "[" * 60_000),
    ),
    edited(
        "deep JSON in .keras", ".+recursion.+", lambda p: members(p, config__json="[" * 100_000)
    ),
    edited("no JSON", "Expecting .+", lambda p: members(p, config__json="{'x'}")),
    edited("a list as configuration", ".+", lambda p: members(p, config__json="[]")),
    Case(
        "two models",
        lambda folder: (folder / "model.h5").write_bytes(b""),
        r"\S+ must hold one model, got \['model\.h5', 'model\.keras'\]\. Run `dvc repro` .+",
    ),
    Case(
        "a folder",
        lambda folder: ((folder / "model.keras").unlink(), (folder / "model.keras").mkdir()),
        NONE.format(".*Is a directory.*"),
    ),
    # Archives.
    edited(
        "a path upwards", r"an archive of \[.+\]", lambda p: members(p, **{"../../escaped": b"x"})
    ),
    edited(
        "an absolute path", r"an archive of \[.+\]", lambda p: members(p, **{"/tmp/escaped": b"x"})
    ),
    edited("assets", r"an archive of \[.+\]", lambda p: members(p, **{"assets/x/y.txt": b"x"})),
    edited(
        "no weights", r"an archive of \[.+\]", lambda p: members(p, **{"model.weights.h5": None})
    ),
    edited(
        "weights as pickles",
        r"an archive of \[.+\]",
        lambda p: members(p, **{"model.weights.h5": None, "model.weights.npz": b"x"}),
    ),
    edited("a bomb", r"\d+ bytes when unpacked, more than 268435456", bomb),
    # Code.
    with_lambda("a Lambda layer in .keras", "keras"),
    with_lambda("a Lambda layer in .h5", "h5"),
    layer("a class of the system's", "Could not locate class 'system'", "os", "system"),
    layer("a process", "Could not locate class 'Popen'", "subprocess", "Popen", args=["true"]),
    layer("a class of its own", "Could not locate class 'Mine'", "mine", "Mine"),
    layer(
        "a saved program",
        "Requested the deserialization of a `TFSMLayer`.+",
        "keras.layers",
        "TFSMLayer",
        filepath="/x",
    ),
    layer(
        "a download",
        "Cannot deserialize `keras.utils.get_file`.+",
        "keras.utils",
        "get_file",
        origin="file:///etc/passwd",
    ),
    layer(
        "the switch for safety",
        "Cannot deserialize `keras.config.enable_unsafe.+",
        "keras.config",
        "enable_unsafe_deserialization",
    ),
    layer(
        "a model within",
        "Cannot deserialize `keras.models.load_model`.+",
        "keras.models",
        "load_model",
        filepath="/x",
    ),
    layer(
        "a file to read",
        "Requested the loading of a vocabulary file.+",
        "keras.layers",
        "StringLookup",
        vocabulary="/etc/passwd",
    ),
    legacy("a class of its own in .h5", "Unknown layer: 'Mine'", set_legacy("Mine")),
    legacy("a class of the system's in .h5", "Unknown layer: 'os>system'", set_legacy("os>system")),
    # Other files.
    weights("a link to a file outside", NONE.format(TOTAL), link(FAR)),
    weights("a link within", NONE.format(TOTAL), link(h5py.SoftLink("/layers/dense/vars/0"))),
    weights(
        "data in a file outside",
        NONE.format(TOTAL),
        replace(
            KERNEL,
            lambda f, path: f.create_dataset(
                path, (3, 3, 3, 4), "f4", external=[("/etc/passwd", 0, 432)]
            ),
        ),
    ),
    legacy(
        "a link to a file outside in .h5",
        "Not allowed: H5 file with ExternalLink",
        lambda f: replace(first_kernel(f), lambda f, path: f.__setitem__(path, FAR))(f),
    ),
    *SIZES,
    # Input and output.
    saved(
        "small grey images",
        FORM.format("input", "32, 32, 3", r"\(None, 28, 28, 1\) float32"),
        size=(28, 28, 1),
    ),
    saved("images of any size", r".+", size=(None, None, 3))._replace(
        write=lambda folder: keras.Sequential(
            [
                keras.Input((None, None, 3)),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(10),
            ]
        ).save(folder / "model.keras"),
        message=FORM.format("input", "32, 32, 3", r"\(None, None, None, 3\) float32"),
    ),
    saved("a hundred classes", FORM.format("output", "10", r"\(None, 100\) float32"), classes=100),
    saved(
        "an extra output",
        FORM.format("output", "10", r"\(None, 10\) .+, \(None, 10\) float32"),
        heads=2,
    ),
    saved("half precision", r".+", suffix="keras")._replace(
        write=lambda folder: keras.Sequential(
            [
                keras.Input((32, 32, 3), dtype="float16"),
                keras.layers.Flatten(),
                keras.layers.Dense(10),
            ]
        ).save(folder / "model.keras"),
        message=FORM.format("input", "32, 32, 3", r"\(None, 32, 32, 3\) float16"),
    ),
    # Numbers that are none.
    weights("NaN in a kernel", FINITE.format("conv2d/kernel"), put(KERNEL, np.nan)),
    weights("infinity in a bias", FINITE.format("dense/bias"), put("layers/dense/vars/1", -np.inf)),
    weights(
        "NaN in the mean of a batch normalization",
        FINITE.format("batch_normalization/moving_mean"),
        put("layers/batch_normalization/vars/2", np.nan),
    ),
    weights(
        "infinity in the variance of a batch normalization",
        FINITE.format("batch_normalization/moving_variance"),
        put("layers/batch_normalization/vars/3", np.inf),
    ),
)


@CASES
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_convert_onnx_refuses(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], valid: Path, case: Case
) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    write_arrays(tmp_path / "data")
    shutil.copy(valid / "model.keras", folder)
    for suffix in ("h5", "keras"):
        shutil.copy(valid / f"model.{suffix}", tmp_path)
    case.write(folder)
    arguments = {
        "params": write_params(tmp_path, fetch__model="/of/the/user/model.keras"),
        "raw": folder,
        "data": tmp_path / "data",
        "out": tmp_path / "out" / "model.onnx",
        "verification": tmp_path / "out" / "verify.json",
    }
    refuse(convert_onnx.main, arguments, capfd, folder=folder, message=case.message)


@pytest.mark.parametrize("suffix", ["h5", "keras"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_keras_itself_runs_the_function_of_a_lambda_layer(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model.{suffix}"
    build(marking(tmp_path / MARKER)).save(path)
    (tmp_path / MARKER).unlink(missing_ok=True)
    model = keras.saving.load_model(path, compile=False, safe_mode=False)
    model(np.zeros((1, 32, 32, 3), np.float32))
    assert (tmp_path / MARKER).exists()
