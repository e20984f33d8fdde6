"""Inputs of runs on the sample."""

from typing import Any

import numpy as np
import pytest

from resnet8.core.evaluation import predict
from resnet8.models import onnx_model, torch_model
from resnet8.sweep import cluster
from resnet8.sweep.measure import Inputs
from samples.shapes import LABEL_NAMES, draw_batch


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives a busy machine more time to answer."""
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 120.0)


@pytest.fixture(scope="session")
def inputs(onnx_fp32: Any, torch_fp32: Any, test_set: Any) -> Inputs:
    """200 training images, 200 test images and the sample's model as its own baseline."""
    pool_images, pool_labels = draw_batch(1, size=200)
    # As they lie in a file: PyTorch's kernels, and so the last bits, depend on the layout.
    pool_images, images = map(np.ascontiguousarray, (pool_images, test_set[0][:200]))
    return Inputs(
        model=onnx_fp32.SerializeToString(),
        program=torch_model.encode(torch_fp32),
        pool_images=pool_images,
        pool_labels=np.array(pool_labels),
        test_images=images,
        test_labels=test_set[1][:200],
        label_names=LABEL_NAMES,
        baseline=predict(onnx_model.make_predictor(onnx_fp32), images, batch_size=100),
        batch_size=100,
    )
