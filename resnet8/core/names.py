"""Names that parameters choose from: data sets, models, types and methods."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

Dataset = Literal["cifar10", "sample"]
OnnxType = Literal["int8", "uint8", "uint8_int8"]
TorchType = Literal["int8"]
RangeMethod = Literal["minmax", "percentile", "entropy", "mse"]
Rounding = Literal["nearest", "gptq"]

INPUT = "input"  # name of a model's input in every runtime; also stands for its layer
# Images in one batch file; CIFAR-10: Krizhevsky (2009), https://www.cs.toronto.edu/~kriz/cifar.html
IMAGES_PER_BATCH: dict[Dataset, int] = {"cifar10": 10_000, "sample": 2_000}
TRAIN_BATCHES = 5
BUILT_IN_MODELS = ("mlperf_tiny", "sample")
MODEL_SUFFIXES = (".h5", ".keras")


def is_url(source: str) -> bool:
    return source.lower().startswith(("http://", "https://"))


def source_path(source: str) -> Path:
    """Returns the path part of a URL, or a path unchanged."""
    return Path(urlsplit(source).path if is_url(source) else source)


def model_in_words(model: str) -> str:
    """Returns a readable name of the model that `fetch.model` chooses."""
    words = {"mlperf_tiny": "MLPerf Tiny's pretrained ResNet8", "sample": "The sample's ResNet8"}
    return words.get(model, source_path(model).name)


def data_in_words(dataset: Dataset) -> str:
    """Returns a readable name of the data set that `fetch.dataset` chooses."""
    return {"cifar10": "CIFAR-10", "sample": "drawn shapes"}[dataset]
