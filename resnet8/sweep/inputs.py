"""Reads what the runs of a sweep start from."""

from pathlib import Path

from resnet8.core.dataset import read_images, read_labels, read_predictions, read_test_set
from resnet8.core.files import read_bytes
from resnet8.core.params import Params
from resnet8.core.variants import Variant
from resnet8.sweep.grid import list_runs
from resnet8.sweep.measure import Inputs


def read_inputs(params: Params, *, models: Path, data: Path, predictions: Path) -> Inputs:
    """Reads the models, the images and the baseline's predictions.

    Args:
        params: the parameters.
        models: folder of `onnx_fp32.onnx` and `torch_fp32.pt2`.
        data: folder of the arrays that `prepare` wrote.
        predictions: folder of `<baseline>.npy`.

    Raises:
        ArtifactError: a file is missing or holds something else.
    """
    test_set, baseline = read_test_set(data), params.compare.baseline
    with_torch = any(Variant(run.variant).runtime == "torch" for run in list_runs(params))
    return Inputs(
        model=read_bytes(models / "onnx_fp32.onnx"),
        program=read_bytes(models / "torch_fp32.pt2") if with_torch else b"",
        pool_images=read_images(data / "train_images.npy"),
        pool_labels=read_labels(data / "train_labels.npy"),
        test_images=test_set.images,
        test_labels=test_set.labels,
        label_names=test_set.label_names,
        baseline=read_predictions(predictions, [baseline], shape=test_set.shape)[baseline],
        batch_size=params.evaluate.batch_size,
    )
