"""Limits of Keras files, checked on the sizes that a file declares, before it takes memory."""

import math
import posixpath
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py

from resnet8.core.errors import shown
from resnet8.core.files import scratch_folder
from resnet8.models.keras_library import keras

# For models of small devices: MobileNetV2 has 2.3 million parameters, ResNet50 24 million.
MAX_PARAMETERS = 2**25
MAX_ACTIVATION = 2**22  # elements of a tensor for one image
MAX_TENSORS = 10_000  # between layers, as Keras makes them; loading EfficientNetB0 makes 744
MAX_FILE_BYTES = 2**28  # unpacked, with the arrays of an optimizer
MAX_CONFIG_BYTES = 2**21
MAX_OBJECTS = 10_000  # groups and arrays of an HDF5 file
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MEMBERS = [_CONFIG, "metadata.json", _WEIGHTS]  # of a .keras file
_LISTS = ("layer_names", "weight_names")  # attributes of a .h5 file that list what Keras reads


def check_file(path: Path) -> None:
    """Raises a ValueError for a size beyond its limit, without reading an array."""
    _check_limit(path.stat().st_size, MAX_FILE_BYTES, "bytes")
    if path.suffix != ".keras":
        _check_arrays(path)
        return
    with zipfile.ZipFile(path) as archive, scratch_folder() as folder:
        names = [member.filename for member in archive.infolist()]
        if sorted(names) != _MEMBERS:
            raise ValueError(f"an archive of {shown(names)}")
        sizes = [member.file_size for member in archive.infolist()]
        _check_limit(sum(sizes), MAX_FILE_BYTES, "bytes when unpacked")
        _check_limit(sizes[names.index(_CONFIG)], MAX_CONFIG_BYTES, "bytes of configuration")
        _check_arrays(Path(archive.extract(_WEIGHTS, folder)))


def _check_limit(value: int, limit: int, unit: str) -> None:
    if value > limit:
        raise ValueError(f"{shown(value)} {unit}, more than {limit}")


def _check_arrays(path: Path) -> None:
    """Checks the sizes that an HDF5 file declares; an array counts once for each of its names."""
    with h5py.File(path) as file:
        objects, size = [file["/"]], 0
        for item in objects:  # to which each group adds its members
            if isinstance(item, h5py.Group):
                # Keras refuses links of other kinds.
                names = [x for x in item if isinstance(item.get(x, getlink=True), h5py.HardLink)]
                _check_limit(len(objects) + len(names), MAX_OBJECTS, "groups and arrays")
                objects += [item[name] for name in names]
            declared = [item.attrs.get_id(name) for name in item.attrs]
            if isinstance(item, h5py.Dataset):
                declared.append(item)
            size += sum(math.prod(x.shape or ()) * x.dtype.itemsize for x in declared)
            _check_limit(size, MAX_FILE_BYTES, "bytes of arrays")
            _check_lists(item)
        config = str(file.attrs.get("model_config", ""))  # a .keras file has it elsewhere
        _check_limit(len(config), MAX_CONFIG_BYTES, "bytes of configuration")


def _check_lists(item: Any) -> None:
    """Checks that no array is listed twice, in any spelling of its name."""
    listed = set[str]()
    for attribute in item.attrs:
        if attribute.startswith(_LISTS):
            _check_limit(math.prod(item.attrs.get_id(attribute).shape), MAX_OBJECTS, "names")
            for entry in item.attrs[attribute]:
                name = posixpath.normpath(entry.decode() if hasattr(entry, "decode") else entry)
                if name in listed:
                    raise ValueError(f"{shown(name)} twice in a list of {shown(item.name)}")
                listed.add(name)


def check_model(load: Callable[[], Any]) -> None:
    """Calls `load` without allocating weights; raises a ValueError for a size beyond its limit."""
    parameters: list[int] = []
    tensors: list[int] = []

    def check_variable(size: int) -> None:
        parameters.append(size)
        _check_limit(sum(parameters), MAX_PARAMETERS, "parameters")

    def check_tensor(size: int) -> None:
        tensors.append(size)
        _check_limit(len(tensors), MAX_TENSORS, "tensors between layers")
        _check_limit(size, MAX_ACTIVATION, "numbers in a tensor")

    try:
        with (
            _after_creation(keras.Variable, check_variable),
            _after_creation(keras.KerasTensor, check_tensor),
            keras.StatelessScope(initialize_variables=False),
        ):
            model = load()
            # One image, since for any number Keras does not compute shapes in nested models.
            shapes = [(x.shape[1:], x.dtype) for x in getattr(model, "inputs", None) or []]
            if inputs := [keras.KerasTensor((1, *shape), dtype) for shape, dtype in shapes]:
                model(inputs)
    finally:
        # Otherwise Keras allocates the weights later.
        keras.backend.clear_session(free_memory=False)


def _after_creation(of_class: Any, check: Callable[[int], None]) -> Any:
    """A context in which `check` is called with the size of each new object of a class."""
    create = of_class.__init__

    def create_and_check(self: Any, *arguments: Any, **settings: Any) -> None:
        create(self, *arguments, **settings)
        check(math.prod(length or 1 for length in self.shape))  # the batch has length None

    return patch.object(of_class, "__init__", create_and_check)
