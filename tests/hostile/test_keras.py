"""Keras files, as `convert_onnx` reads them."""

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from resnet8.models.keras_model import keras
from stages import convert_onnx
from tests.hostile.harness import MARKER, Case, refuse, table, write_arrays, write_params

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
Edit = Callable[[Any], object]
layers = keras.layers
NONE = (
    r"/of/the/user/model\.keras must be a Keras model \(\.h5 or \.keras\) without custom code, "
    r"got: {}\. Choose another fetch\.model\."
)
FORM = (
    r"The model's {} must be one float32 tensor of shape \(None, {}\), got {} "
    r"\(\S+\)\. Choose another fetch\.model\."
)
FINITE = (
    r"The model's weights must be finite, got NaN or infinity in {} \(\S+\)\. "
    r"Choose another fetch\.model\."
)
LAMBDA = r"Requested the deserialization of a `Lambda` layer whose `function` is a Python lambda"
TOTAL = "A total of 1 objects could not be loaded"
ARRAYS = r"\d+ bytes of arrays, more than 268435456"
PARAMETERS = r"{} parameters, more than 33554432"
TENSOR = r"\d+ numbers in a tensor, more than 4194304"
LONG = "2097154 bytes of configuration, more than 2097152"
CONFIG, WEIGHTS = "config.json", "model.weights.h5"  # of a .keras file
KERNEL, LEGACY_KERNEL = "layers/conv2d/vars/0", "model_weights/conv2d/conv2d/kernel"
BLANK = f"[{' ' * 2**21}]"  # JSON of two megabytes
ELSEWHERE = h5py.ExternalLink("/etc/passwd", "/x")


def build(*middle: Any, inputs: Any = None, heads: int = 1) -> Any:
    """A small classifier with some layers in the middle."""
    keras.backend.clear_session()
    x = inputs = keras.Input((32, 32, 3)) if inputs is None else inputs
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, strides=4)(x))
    for layer in middle:
        x = layer(x)
    x = layers.GlobalAveragePooling2D()(x)
    outputs = [layers.Dense(10, activation="softmax")(x) for _ in range(heads)]
    return keras.Model(inputs, outputs if heads > 1 else outputs[0])


@cache
def valid(suffix: str) -> bytes:
    """A valid model in either format."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model.{suffix}"
        build().save(path)
        return path.read_bytes()


def raw(name: str, reason: str, suffix: str, edit: Callable[[bytes], bytes]) -> Case:
    """A valid file, its bytes changed."""

    def write(folder: Path) -> None:
        (folder / f"model.{suffix}").write_bytes(edit(valid(suffix)))

    return Case(name, write, reason if reason.startswith("The model's") else NONE.format(reason))


def in_hdf5(edit: Edit, content: bytes) -> bytes:
    file = io.BytesIO(content)
    with h5py.File(file, "r+") as opened:
        edit(opened)
    return file.getvalue()


def legacy(name: str, reason: str, edit: Edit) -> Case:
    """A valid .h5 file, edited."""
    return raw(name, reason, "h5", partial(in_hdf5, edit))


def members(name: str, reason: str, changes: dict[str, Any]) -> Case:
    """A valid .keras file with other members; None removes one, functions edit one."""

    def edit(content: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = {x: archive.read(x) for x in archive.namelist()}
        for key, change in changes.items():
            entries[key] = change(entries[key]) if callable(change) else change
        return zipped(entries)

    return raw(name, reason, "keras", edit)


def zipped(entries: dict[str, Any]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            if data is not None:
                archive.writestr(name, data)
    return content.getvalue()


def weights(name: str, reason: str, edit: Edit) -> Case:
    """A valid .keras file with other weights."""
    return members(name, reason, {WEIGHTS: partial(in_hdf5, edit)})


def config(name: str, reason: str, edit: Edit) -> Case:
    """A valid .keras file with another configuration."""

    def change(content: bytes) -> str:
        document = json.loads(content)
        edit(document["config"]["layers"])
        return json.dumps(document)

    return members(name, reason, {CONFIG: change})


def layer(name: str, reason: str, module: str, of_class: str, **settings: Any) -> Case:
    """A valid .keras file with another layer in the place of its first."""

    def edit(configs: Any) -> None:
        configs[1] |= {"module": module, "class_name": of_class, "registered_name": None}
        configs[1]["config"] = {"name": configs[1]["config"]["name"], **settings}

    return config(name, reason, edit)


def saved(name: str, message: str, make: Callable[[Path], Any], suffix: str = "keras") -> Case:
    """A model as Keras itself saves it; a function of the payload's marker makes it."""

    def write(folder: Path) -> None:
        make(folder.parent / MARKER).save(folder / f"model.{suffix}")
        (folder.parent / MARKER).unlink(missing_ok=True)

    return Case(name, write, message)


def set_system_class(file: Any) -> None:
    content = json.loads(file.attrs["model_config"])
    content["config"]["layers"][1]["class_name"] = "os>system"
    file.attrs["model_config"] = json.dumps(content)


def put(path: str, value: float) -> Edit:
    return lambda file: file[path].__setitem__(..., np.full(file[path].shape, value))


def link(path: str) -> Edit:
    """Replaces an array by a link to another file."""
    return lambda file: (file.__delitem__(path), file.__setitem__(path, ELSEWHERE))


def array(*shape: int, **settings: Any) -> Edit:
    """Replaces the kernel."""

    def edit(file: Any) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, shape, "f4", **settings)

    return edit


def list_forty_times(file: Any) -> None:
    """Lets Keras read an array forty times before it counts them."""
    names = [b"./" * n + b"conv2d/kernel" for n in range(40)]
    file["model_weights/conv2d"].attrs["weight_names"] = names


def name_nine_times(file: Any) -> None:
    array(2**23, chunks=(64,))(file)  # 32 MiB
    for n in range(8):
        file[f"again{n}"] = file[KERNEL]


def growing() -> Any:
    """A model for images of any size, which it enlarges by a hundred thousand."""
    inputs = keras.Input((None, None, 4))
    image = layers.UpSampling2D(10**5)(inputs)
    return keras.Model(inputs, layers.GlobalAveragePooling2D(keepdims=True)(image))


def bomb(content: bytes) -> bytes:
    """Changes the unpacked size to four gigabytes."""
    at = content.rindex(b"PK\x01\x02")
    return content[: at + 24] + (2**32 - 2).to_bytes(4, "little") + content[at + 28 :]


def lambda_model(marker: Path) -> Any:
    """A model with a layer whose function creates a file when it is called."""
    code = f"lambda x: (__import__('pathlib').Path({str(marker)!r}).touch(), x)[1]"
    return build(layers.Lambda(eval(code), output_shape=(8, 8, 4)))


CASES = table(
    # No model.
    raw("an error page as .h5", "Unable to .+ open file .+", "h5", lambda _: b"<!DOCTYPE html>"),
    raw("a cut .h5", "Unable to .+ open file .truncated.+", "h5", lambda x: x[: len(x) // 2]),
    raw("an .h5 as .keras", "File is not a zip file", "keras", lambda _: b"\x89HDF\r\n\x1a\n"),
    raw("a damaged .keras", ".+", "keras", lambda x: x[:200] + bytes(4000) + x[4200:]),
    legacy("weights alone", "No model config found in .+", lambda f: f.attrs.pop("model_config")),
    legacy("a number as configuration", ".+", lambda f: f.attrs.__setitem__("model_config", 5)),
    members("deep JSON", ".+recursion.+", {CONFIG: "[" * 100_000}),
    members("a list as configuration", ".+", {CONFIG: "[]"}),
    # Archives.
    members("a path upwards", r"an archive of \[.+\]", {"../../x": b"x"}),
    members("no weights", r"an archive of \[.+\]", {WEIGHTS: None}),
    raw("a bomb", r"\d+ bytes when unpacked, more than 268435456", "keras", bomb),
    # Code.
    saved("a Lambda layer in .keras", NONE.format(LAMBDA), lambda_model),
    saved("a Lambda layer in .h5", NONE.format(LAMBDA), lambda_model, "h5"),
    layer("a class of the system's", "Could not locate class 'system'", "os", "system"),
    layer("a program", ".+a `TFSMLayer`.+", "keras.layers", "TFSMLayer", filepath="/x"),
    layer("a download", "Cannot .+get_file.+", "keras.utils", "get_file", origin="file:///x"),
    layer(
        "the switch for safety",
        "Cannot deserialize `keras.config.enable_unsafe.+",
        "keras.config",
        "enable_unsafe_deserialization",
    ),
    layer("a file", ".+vocabulary file.+", "keras.layers", "StringLookup", vocabulary="/x"),
    legacy("a class of the system's in .h5", "Unknown layer: .+system'", set_system_class),
    # Other files.
    weights("a link", TOTAL, link(KERNEL)),
    weights("data elsewhere", TOTAL, array(108, external=[("/etc/passwd", 0, 432)])),
    legacy("a link in .h5", "Not allowed: H5 file with ExternalLink", link(LEGACY_KERNEL)),
    # Sizes.
    weights("four terabytes", ARRAYS, array(2**20, 2**20, chunks=(64, 64))),
    weights("a size beyond 64 bits", ARRAYS, array(2**33, 2**31, chunks=(64, 64))),
    weights("weights of another shape", TOTAL, array(3, 3, 3, 5)),
    weights("an array of nine names", ARRAYS, name_nine_times),
    weights(
        "a group within itself",
        r"\d+ groups and arrays, more than 10000",
        lambda f: f.__setitem__("again", f["/"]),
    ),
    legacy("forty readings", "'conv2d/kernel' twice in a list of '/model.+'", list_forty_times),
    legacy("a long configuration", LONG, lambda f: f.attrs.__setitem__("model_config", BLANK)),
    members("a long configuration in .keras", LONG, {CONFIG: BLANK}),
    layer("many units", PARAMETERS.format(r"\d+"), "keras.layers", "Dense", units=10**8),
    layer("endless units", PARAMETERS.format(r"30+\.+0+"), "keras.layers", "Dense", units=10**400),
    layer("a huge image", TENSOR, "keras.layers", "UpSampling2D", size=10**5),
    config("a huge input", TENSOR, lambda x: x[0]["config"].update(batch_shape=[None, 10**8, 1])),
    saved("a huge image in a model within", NONE.format(TENSOR), lambda _: build(growing())),
    # Input, output and weights.
    saved(
        "small grey images",
        FORM.format("input", "32, 32, 3", r"\(None, 28, 28, 1\) float32"),
        lambda _: build(inputs=keras.Input((28, 28, 1))),
    ),
    saved(
        "one image at a time",
        FORM.format("input", "32, 32, 3", r"\(1, 32, 32, 3\) float32"),
        lambda _: build(inputs=keras.Input(batch_shape=(1, 32, 32, 3))),
    ),
    saved(
        "half precision",
        FORM.format("input", "32, 32, 3", r"\(None, 32, 32, 3\) float16"),
        lambda _: build(inputs=keras.Input((32, 32, 3), dtype="float16")),
    ),
    saved(
        "an extra output",
        FORM.format("output", "10", r"\(None, 10\) .+, \(None, 10\) float32"),
        lambda _: build(heads=2),
    ),
    weights("NaN in a kernel", FINITE.format("conv2d/kernel"), put(KERNEL, np.nan)),
    weights(
        "infinity in the variance of a batch normalization",
        FINITE.format("batch_normalization/moving_variance"),
        put("layers/batch_normalization/vars/3", np.inf),
    ),
)


def arguments(folder: Path) -> dict[str, object]:
    """Arguments of the stage, beside valid arrays and a folder for the model."""
    (folder / "raw").mkdir(exist_ok=True)
    write_arrays(folder / "data")
    return {
        "params": write_params(folder, fetch__model="/of/the/user/model.keras"),
        "raw": folder / "raw",
        "data": folder / "data",
        "out": folder / "out" / "model.onnx",
        "verification": folder / "out" / "verify.json",
    }


@CASES
def test_convert_onnx_refuses(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case
) -> None:
    options = arguments(tmp_path)
    case.write(tmp_path / "raw")
    refuse(convert_onnx.main, options, capfd, folder=tmp_path / "raw", message=case.message)
