"""Models that several tests look at: the sample's, converted and quantized once."""

import gc
import random
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from samples.dataset import SAMPLE_MODEL
from samples.shapes import LABEL_NAMES, TEST_BATCH, draw_batch
from tests.parameters import TEST_PARAMS

N_CLASSES = len(LABEL_NAMES)
ONNX_TYPES = ("int8", "uint8", "uint8_int8")
# Files that take longest, which come first, so that no worker is left alone with one at the end.
LONGEST = (
    "tests/pipeline/test_sample.py",
    "tests/pipeline/test_cifar10.py",
    "tests/faults/test_orphans.py",
    "tests/faults/test_circumstances.py",  # two whole runs
    "tests/pipeline/test_remote.py",  # waits more than it works
    "tests/faults/test_killed_groups.py",  # needs the project that test_orphans.py makes
    "tests/pipeline/test_planted.py",  # needs the project that test_cifar10.py makes
    "tests/faults/",
    "tests/pipeline/",
    "tests/quantize/",
    "tests/sweep/",
    "tests/inspection/",
    "tests/models/",
    "tests/report/",
    "tests/hostile/",
    "tests/test_",
)
# Neither a busy machine nor an earlier run can change the outcome.
settings.register_profile(
    "same everywhere",
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("same everywhere")


gc.set_threshold(100_000, 50, 1000)  # else collections take most of the time of a long run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        return next((i for i, x in enumerate(LONGEST) if item.nodeid.startswith(x)), len(LONGEST))

    items.sort(key=rank)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seeds the initial weights of layers, which else depend on the tests before."""
    random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def test_set() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """500 test images of the sample with their labels."""
    images, labels = draw_batch(TEST_BATCH, size=500)
    return images, np.array(labels)


@pytest.fixture(scope="session")
def calibration_images() -> NDArray[np.uint8]:
    """200 training images of the sample."""
    return draw_batch(1, size=200)[0]


@pytest.fixture(scope="session")
def keras_fp32() -> Any:
    from resnet8.models import keras_model

    return keras_model.load_model(SAMPLE_MODEL, n_classes=N_CLASSES)


@pytest.fixture(scope="session")
def onnx_fp32(keras_fp32: Any) -> Any:
    from resnet8.models import keras_conversion

    return keras_conversion.convert(keras_fp32, opset=17, n_classes=N_CLASSES)


@pytest.fixture(scope="session")
def torch_fp32(onnx_fp32: Any) -> Any:
    from resnet8.models import torch_conversion, torch_model

    return torch_model.export(torch_conversion.convert(onnx_fp32))


@pytest.fixture(scope="session")
def fit_settings() -> Any:
    """The `fit` section of the tests' parameters."""
    from resnet8.core.params import load_params

    return load_params(TEST_PARAMS).fit


@pytest.fixture(scope="session")
def quantization(onnx_fp32: Any, calibration_images: NDArray[np.uint8], fit_settings: Any) -> Any:
    """The quantization of the sample by `fit`."""
    from resnet8.quantize.fit import fit

    return fit(onnx_fp32, calibration_images, fit_settings)


@pytest.fixture(scope="session")
def onnx_models(onnx_fp32: Any, quantization: Any) -> dict[str, Any]:
    """The float ONNX model and the quantized ones, by type; tests must not change them."""
    from resnet8.quantize import onnx_writer

    models = {"fp32": onnx_fp32}
    for name in ONNX_TYPES:
        models[name] = onnx_writer.quantize(onnx_fp32, quantization, quant_type=name)
    return models


@pytest.fixture(scope="session", params=ONNX_TYPES)
def onnx_quantized(request: pytest.FixtureRequest, onnx_models: dict[str, Any]) -> tuple[str, Any]:
    """The type's name and the model."""
    return request.param, onnx_models[request.param]


@pytest.fixture(scope="session")
def torch_int8(torch_fp32: Any, quantization: Any) -> Any:
    from resnet8.models import torch_model
    from resnet8.quantize import torch_writer

    return torch_model.export(torch_writer.quantize(torch_fp32, quantization))


@pytest.fixture(scope="session")
def models_folder(
    tmp_path_factory: pytest.TempPathFactory,
    onnx_models: dict[str, Any],
    torch_fp32: Any,
    torch_int8: Any,
    quantization: Any,
) -> Any:
    """The files of all variants, as stages write them; tests must not change them."""
    from resnet8.models import torch_model

    folder = tmp_path_factory.mktemp("models")
    (folder / "model.h5").symlink_to(SAMPLE_MODEL)
    for name, model in onnx_models.items():
        (folder / f"onnx_{name}.onnx").write_bytes(model.SerializeToString())
    (folder / "torch_fp32.pt2").write_bytes(torch_model.encode(torch_fp32))
    content = torch_model.encode(torch_int8, quantization.metadata)
    (folder / "torch_int8.pt2").write_bytes(content)
    return folder
