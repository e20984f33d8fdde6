"""Makes Keras files that are no model, or another than they should be."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from resnet8.models import keras_model
from tests.hostile.harness import MARKER, Case

keras = keras_model.keras
NONE = (
    r"/of/the/user/model\.keras must be a Keras model \(\.h5 or \.keras\) without custom code, "
    r"got: {}\. Choose another fetch\.model\."
)
FORM = (
    r"The model's {} must be one float32 tensor of shape \(None, {}\), got {} "
    r"\(\S+\)\. Choose another fetch\.model\."
)
TOTAL = "A total of 1 objects could not be loaded"
KERNEL = "layers/conv2d/vars/0"
LAMBDA = r"Requested the deserialization of a `Lambda` layer whose `function` is a Python lambda"
Edit = Callable[[Any], object]


def build(
    *layers: Any, size: tuple[int, ...] = (32, 32, 3), classes: int = 10, heads: int = 1
) -> Any:
    """A small classifier with some layers in the middle."""
    keras.backend.clear_session()
    x = inputs = keras.Input(size)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, strides=4)(x))
    for layer in layers:
        x = layer(x)
    x = keras.layers.Flatten()(x)
    outputs = [keras.layers.Dense(classes, activation="softmax")(x) for _ in range(heads)]
    return keras.Model(inputs, outputs if heads > 1 else outputs[0])


def saved(name: str, message: str, suffix: str = "keras", **form: Any) -> Case:
    """A model as Keras itself saves it."""

    def write(folder: Path) -> None:
        build(**form).save(folder / f"model.{suffix}")

    return Case(name, write, message)


def members(path: Path, **changes: Any) -> None:
    """Replaces members of a .keras file; None removes one."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content |= {key.replace("__", "."): value for key, value in changes.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            if data is not None:
                archive.writestr(name, data)


def edited(name: str, found: str, edit: Callable[[Path], object]) -> Case:
    """A valid .keras file, edited in place."""
    return Case(name, lambda folder: edit(folder / "model.keras"), NONE.format(found))


def config(name: str, found: str, edit: Edit) -> Case:
    """A valid .keras file with another configuration."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            content = json.loads(archive.read("config.json"))
        edit(content)
        members(path, config__json=json.dumps(content))

    return edited(name, found, write)


def layer(name: str, found: str, module: str | None, of_class: str, **settings: Any) -> Case:
    """A valid .keras file with another layer in the place of its first."""

    def edit(content: Any) -> None:
        first = content["config"]["layers"][1]
        first |= {"module": module, "class_name": of_class, "registered_name": None}
        first["config"] = {"name": first["config"]["name"], **settings}

    return config(name, found, edit)


def weights(name: str, message: str, edit: Edit) -> Case:
    """A valid .keras file with other weights."""

    def write(folder: Path) -> None:
        path = folder / "model.keras"
        with zipfile.ZipFile(path) as archive:
            content = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(content, "r+") as file:
            edit(file)
        members(path, **{"model.weights.h5": content.getvalue()})

    return Case(name, write, message)


def legacy(name: str, found: str, edit: Edit) -> Case:
    """A valid .h5 file, edited."""

    def write(folder: Path) -> None:
        (folder / "model.keras").unlink()
        shutil.copy(folder.parent / "model.h5", folder)
        with h5py.File(folder / "model.h5", "r+") as file:
            edit(file)

    return Case(name, write, NONE.format(found))


def raw(name: str, found: str, suffix: str, content: Callable[[bytes], bytes]) -> Case:
    """A valid file, its bytes changed."""

    def write(folder: Path) -> None:
        (folder / "model.keras").unlink()
        made = content((folder.parent / f"model.{suffix}").read_bytes())
        (folder / f"model.{suffix}").write_bytes(made)

    return Case(name, write, NONE.format(found))


def put(path: str, value: float) -> Edit:
    def edit(file: Any) -> None:
        file[path][...] = np.full(file[path].shape, value)

    return edit


def replace(path: str, made: Callable[[Any, str], object]) -> Edit:
    def edit(file: Any) -> None:
        del file[path]
        made(file, path)

    return edit


def link(target: Any) -> Edit:
    return replace(KERNEL, lambda file, path: file.__setitem__(path, target))


def set_legacy(of_class: str, **settings: Any) -> Edit:
    def edit(file: Any) -> None:
        content = json.loads(file.attrs["model_config"])
        first = content["config"]["layers"][1]
        first["class_name"] = of_class
        first["config"] = {"name": first["config"]["name"], **settings}
        file.attrs["model_config"] = json.dumps(content)

    return edit


def first_kernel(file: Any) -> str:
    names: list[str] = []
    file.visit(names.append)
    return next(name for name in names if "conv2d" in name and name.endswith("kernel"))


def list_forty_times(array: Any) -> None:
    """Lets Keras read an array forty times before it counts them."""
    spellings = [b"./" * n + array.name.rpartition("/conv2d/")[2].encode() for n in range(40)]
    array.file["model_weights/conv2d"].attrs["weight_names"] = spellings


def growing() -> Any:
    """A model for images of any size, which it enlarges by a hundred thousand."""
    inputs = keras.Input((None, None, 4))
    image = keras.layers.UpSampling2D(10**5)(inputs)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D(keepdims=True)(image))


def bomb(path: Path) -> None:
    """Announces four gigabytes."""
    members(path)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = (2**32 - 2).to_bytes(4, "little")
    path.write_bytes(content)


def marking(marker: Path) -> Any:
    """A layer whose function leaves a mark when it is called."""
    code = f"lambda x: (__import__('pathlib').Path({str(marker)!r}).touch(), x)[1]"
    return keras.layers.Lambda(eval(code), output_shape=(8, 8, 4))


def with_lambda(name: str, suffix: str) -> Case:
    def write(folder: Path) -> None:
        (folder / "model.keras").unlink()
        build(marking(folder.parent / MARKER)).save(folder / f"model.{suffix}")
        (folder.parent / MARKER).unlink(missing_ok=True)

    return Case(name, write, NONE.format(LAMBDA))
