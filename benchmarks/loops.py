"""Ways to run a model over images: the pipeline's own, and bare loops around each library.

Shape letters: N images, H = W = 32 pixels, C = 3 channels.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import interleave
from resnet8.core.evaluation import predict
from resnet8.core.files import find_model

BATCH_SIZES = (32, 64, 128, 256, 512, 1000)  # that bare loops choose from
CHOICE_ROUNDS = 5  # of which the best counts: noise only ever slows down
SINGLE_IMAGES = 20  # for the loop of single images, which is slow
REFERENCE_BATCH_SIZE = 32  # Keras's default

Images = NDArray[np.float32]  # (N, H, W, C) in 0 to 255
RunBatch = Callable[[Images], object]


class Loop(NamedTuple):
    """A way to run a variant over images.

    variant: its name.
    way: what runs it.
    batch_size: images at once.
    n_images: images in all.
    run: runs over all of them.
    bare: whether the library is by itself, so that it can be the floor for others.
    """

    variant: str
    way: str
    batch_size: int
    n_images: int
    run: Callable[[], object]
    bare: bool = False

    @property
    def name(self) -> str:
        return f"{self.variant}, {self.way}"


def find_models(models: Path, raw: Path) -> dict[str, Path]:
    """Returns the models of the pipeline by variant; Keras's is the folder of the fetched file."""
    files = [*sorted(models.glob("onnx_*.onnx")), *sorted(models.glob("torch_*.pt2"))]
    return {"keras_fp32": raw} | {path.stem: path for path in files}


def pipeline_loop(
    variant: str, path: Path, images: NDArray[np.uint8], *, batch_size: int, n_classes: int
) -> Loop:
    """Returns the loop of the stage `evaluate`: from uint8 images to an array of probabilities."""
    runtime = import_module(f"resnet8.models.{variant.partition('_')[0]}_model")
    predictor = runtime.make_predictor(runtime.load_model(path, n_classes=n_classes))
    run = partial(predict, predictor, images, batch_size=batch_size)
    return Loop(variant, "pipeline", batch_size, len(images), run)


def bare_loops(variant: str, path: Path, images: Images, *, n_classes: int) -> list[Loop]:
    """The library by itself, each way at its best batch size: the floor for `pipeline_loop`.

    Images are float32 beforehand, come in whole batches, and the results are discarded.
    """
    ways = _RUNTIMES[variant.partition("_")[0]](path, n_classes)
    return [_at_best_batch_size(variant, way, run, images) for way, run in ways.items()]


def reference_loops(path: Path, images: Images, *, n_classes: int) -> list[Loop]:
    """Keras's `predict`: once for all images, as MLPerf Tiny's reference, and once for each.

    The reference does the latter with its TFLite model only.

    Source: https://github.com/mlcommons/tiny, benchmark/training/image_classification, test.py
    and tflite_test.py.
    """
    from resnet8.models import keras_model  # noqa: PLC0415

    model = keras_model.load_model(find_model(path), n_classes=n_classes)
    predict_all = partial(model.predict, batch_size=REFERENCE_BATCH_SIZE, verbose=0)
    some = images[:SINGLE_IMAGES]
    return [
        Loop(
            "keras_fp32", "predict", REFERENCE_BATCH_SIZE, len(images), lambda: predict_all(images)
        ),
        Loop("keras_fp32", "predict, one by one", 1, len(some), _each_batch(predict_all, some, 1)),
    ]


def _each_batch(run_batch: RunBatch, images: Images, batch_size: int) -> Callable[[], None]:
    def run() -> None:
        for stop in range(batch_size, len(images) + 1, batch_size):
            run_batch(images[stop - batch_size : stop])

    return run


def _at_best_batch_size(variant: str, way: str, run_batch: RunBatch, images: Images) -> Loop:
    sizes = [size for size in BATCH_SIZES if size <= len(images)] or [len(images)]
    runs = {str(size): _each_batch(run_batch, images, size) for size in sizes}
    for size in sizes:
        run_batch(images[:size])  # a library may prepare itself for each size
    durations = interleave(runs, repeats=CHOICE_ROUNDS, warm_up=False)
    counts = {size: len(images) // size * size for size in sizes}
    best = min(sizes, key=lambda size: min(durations[str(size)]) / counts[size])
    return Loop(variant, way, best, counts[best], runs[str(best)], bare=True)


def _onnx_ways(path: Path, _n_classes: int) -> dict[str, RunBatch]:
    import onnxruntime as ort  # noqa: PLC0415

    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return {"session.run": lambda batch: session.run(None, {name: batch})}


def _torch_ways(path: Path, _n_classes: int) -> dict[str, RunBatch]:
    import torch  # noqa: PLC0415

    from resnet8.models import torch_model  # noqa: PLC0415

    module = torch_model.load_model(path).module()
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(batch: Images) -> object:
        with torch.inference_mode():
            return module(torch.from_numpy(batch))

    return {"eager, channels-last": run}


def _keras_ways(folder: Path, n_classes: int) -> dict[str, RunBatch]:
    from resnet8.models import keras_model  # noqa: PLC0415

    model = keras_model.load_model(find_model(folder), n_classes=n_classes)
    return {"predict_on_batch": model.predict_on_batch, "call": partial(model, training=False)}


_RUNTIMES: dict[str, Callable[[Path, int], dict[str, RunBatch]]] = {
    "keras": _keras_ways,
    "onnx": _onnx_ways,
    "torch": _torch_ways,
}
