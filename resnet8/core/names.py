"""Names that parameters choose from: of data, models, types and methods."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

Dataset = Literal["cifar10", "sample"]
OnnxType = Literal["int8", "uint8", "uint8_int8"]
TorchType = Literal["int8"]
RangeMethod = Literal["minmax", "percentile", "entropy", "mse"]
Rounding = Literal["nearest", "gptq"]

INPUT = "input"  # of a model, in every runtime; also stands for its layer
# Images in one batch file; CIFAR-10: Krizhevsky (2009), https://www.cs.toronto.edu/~kriz/cifar.html
IMAGES_PER_BATCH: dict[Dataset, int] = {"cifar10": 10_000, "sample": 2_000}
TRAIN_BATCHES = 5
BUILT_IN_MODELS = ("mlperf_tiny", "sample")
MODEL_SUFFIXES = (".h5", ".keras")


def is_url(source: str) -> bool:
    return source.lower().startswith(("http://", "https://"))


def source_path(source: str) -> Path:
    """The path in a URL, or a path itself."""
    return Path(urlsplit(source).path if is_url(source) else source)


def known_model(model: str) -> str:
    """A built-in model's name, or the path or URL of a Keras file; ValueError for any other."""
    known = model in BUILT_IN_MODELS or source_path(model).suffix in MODEL_SUFFIXES
    if not known or not model.isprintable():
        raise ValueError("no model")
    return model


def model_in_words(model: str) -> str:
    """Names the model that `fetch.model` chooses for people."""
    words = {"mlperf_tiny": "MLPerf Tiny's pretrained ResNet8", "sample": "The sample's ResNet8"}
    return words.get(model, source_path(model).name)


def data_in_words(dataset: Dataset) -> str:
    """Names the data that `fetch.dataset` chooses for people."""
    return {"cifar10": "CIFAR-10", "sample": "drawn shapes"}[dataset]
