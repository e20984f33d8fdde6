"""Limits of Keras files, which hold for what a file declares, before it takes any memory."""

import math
import posixpath
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py

from resnet8.core.errors import shown
from resnet8.core.files import scratch_folder

# For models of small devices: MobileNetV2 has 2.3 million parameters, ResNet50 24 million.
MAX_PARAMETERS = 2**25
MAX_ACTIVATION = 2**22  # numbers in any tensor for one image
MAX_TENSORS = 10_000  # between layers, as Keras makes them; loading EfficientNetB0 makes 744
MAX_FILE_BYTES = 2**28  # unpacked, with the arrays of an optimizer
MAX_CONFIG_BYTES = 2**21
MAX_OBJECTS = 10_000  # groups and arrays of an HDF5 file
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MEMBERS = [_CONFIG, "metadata.json", _WEIGHTS]  # of a .keras file
_LISTS = ("layer_names", "weight_names")  # attributes of a .h5 file that name what is read


def check_file(path: Path) -> None:
    """Checks the sizes that a file declares, without reading an array.

    Raises:
        ValueError: it has more in it than a model, more than its limits, or an array twice.
    """
    _check_at_most(MAX_FILE_BYTES, path.stat().st_size, "bytes")
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive, scratch_folder() as folder:
            _check_members(archive.infolist())
            _check_arrays(Path(archive.extract(_WEIGHTS, folder)))
    else:
        _check_arrays(path)


def _check_arrays(path: Path) -> None:
    """Raises ValueError for an HDF5 file beyond its limits."""
    with h5py.File(path) as file:
        _check_objects(file)
        config = str(file.attrs.get("model_config", ""))  # a .keras file has it elsewhere
        _check_at_most(MAX_CONFIG_BYTES, len(config), "bytes of configuration")


def _check_at_most(limit: int, found: int, unit: str) -> None:
    if found > limit:
        raise ValueError(f"{shown(found)} {unit}, more than {limit}")


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    """Raises ValueError for a .keras file with more in it than a model: Keras unpacks it."""
    names = [member.filename for member in members]
    if sorted(names) != _MEMBERS:
        raise ValueError(f"an archive of {shown(names)}")
    sizes = [member.file_size for member in members]
    _check_at_most(MAX_FILE_BYTES, sum(sizes), "bytes when unpacked")
    _check_at_most(MAX_CONFIG_BYTES, sizes[names.index(_CONFIG)], "bytes of configuration")


def _check_objects(file: h5py.File) -> None:
    """Raises ValueError for arrays that declare too much, or could be read more than once."""
    objects, places, size = [file["/"]], set[int](), 0
    for item in objects:
        place = h5py.h5o.get_info(item.id).addr
        if place in places:
            raise ValueError(f"a second name of the same content, {shown(item.name)}")
        places.add(place)
        if isinstance(item, h5py.Group):
            hard = (x for x in item if isinstance(item.get(x, getlink=True), h5py.HardLink))
            for name in hard:  # Keras refuses links of other kinds
                _check_at_most(MAX_OBJECTS, len(objects) + 1, "groups and arrays")
                objects.append(item[name])
        declared = [item.attrs.get_id(name) for name in item.attrs]
        declared += [item] if isinstance(item, h5py.Dataset) else []
        size += sum(math.prod(x.shape or ()) * x.dtype.itemsize for x in declared)
        _check_at_most(MAX_FILE_BYTES, size, "bytes of arrays")
        _check_lists(item)


def _check_lists(item: Any) -> None:
    """Raises ValueError where a list of what is to be read has a name twice, in any spelling."""
    names = Counter[str]()
    for attribute in item.attrs:
        if attribute.startswith(_LISTS):
            _check_at_most(MAX_OBJECTS, math.prod(item.attrs.get_id(attribute).shape), "names")
            listed = [x.decode() if hasattr(x, "decode") else x for x in item.attrs[attribute]]
            names.update(map(posixpath.normpath, listed))
    if twice := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"{shown(twice[0])} twice in a list of {shown(item.name)}")


def check_model(load: Callable[[], Any], keras: Any) -> None:
    """Checks what a model declares, without allocating its weights.

    Args:
        load: loads it with Keras.
        keras: the library.

    Raises:
        ValueError: it has more parameters or larger tensors than the limits.
    """
    totals = Counter[str]()

    def count(unit: str, number: int, limit: int) -> None:
        totals[unit] += number
        _check_at_most(limit, totals[unit], unit)

    def check_variable(size: int) -> None:
        count("parameters", size, MAX_PARAMETERS)

    def check_tensor(size: int) -> None:
        count("tensors between layers", 1, MAX_TENSORS)
        _check_at_most(MAX_ACTIVATION, size, "numbers in a tensor")

    try:
        with (
            _checked(keras.Variable, check_variable),
            _checked(keras.KerasTensor, check_tensor),
            keras.StatelessScope(initialize_variables=False),
        ):
            model = load()
            # For one image, since Keras does not look into models within for any number.
            one = [
                keras.KerasTensor((1, *x.shape[1:]), x.dtype)
                for x in getattr(model, "inputs", None) or []
            ]
            if one:
                model(one)
    finally:
        keras.backend.clear_session(free_memory=False)  # which would allocate the weights later


@contextmanager
def _checked(of_class: Any, check: Callable[[int], None]) -> Iterator[None]:
    """Calls `check` with the size of each object of a class that is made."""
    create = of_class.__init__

    def create_and_check(self: Any, *arguments: Any, **settings: Any) -> None:
        create(self, *arguments, **settings)
        check(math.prod(length or 1 for length in self.shape))  # None: of the batch

    with patch.object(of_class, "__init__", create_and_check):
        yield
