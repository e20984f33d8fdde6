"""Writes the model card of a variant: Markdown with a YAML head that model hubs read.

Source: https://huggingface.co/docs/hub/model-cards, https://github.com/huggingface/hub-docs
(modelcard.md: keys of `model-index`).
"""

import json
from pathlib import Path
from typing import NamedTuple

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from resnet8.core import markdown
from resnet8.core.files import Fingerprint, Json
from resnet8.core.names import BUILT_IN_MODELS, data_in_words, model_in_words
from resnet8.core.variants import Variant
from resnet8.decision import words

_DATASETS = {"cifar10": "uoft-cs/cifar10", "sample": "shapes"}  # names on model hubs
_LIBRARIES = {"onnx": "onnx", "torch": "pytorch", "keras": "keras"}


class CardInputs(NamedTuple):
    """Contents of a card."""

    results: Json  # of metrics/<name>.json, by name, and of metrics/<variant>.json as `scores`
    settings: Json  # the sections `fetch`, `convert_onnx`, `calibrate` and `fit` of params.yaml
    model: Fingerprint
    original: Fingerprint  # the Keras model
    calibration: Fingerprint  # the calibration images


def choose_variant(decision: Json, candidate: str) -> Variant:
    """Returns the candidate of params.yaml if it is quantized, else the recommended variant."""
    if not Variant(candidate).is_float:
        return Variant(candidate)
    return Variant(decision["recommended"] or Variant.ONNX_FP32)


def write_card(variant: Variant, inputs: CardInputs) -> str:
    """Returns the model card of a variant as Markdown."""
    # Jinja escapes HTML, not Markdown: the template escapes names by the filter `md`.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"md": markdown.escape, "json": json.dumps}
    results, fetch = inputs.results, inputs.settings["fetch"]
    comparison, decision = results["comparison"], results["decision"]
    mlperf = decision["mlperf_tiny"]
    sections = ["fetch", "convert_onnx"]
    if not variant.is_float:
        sections += ["calibrate", "fit"]
    return environment.get_template("model_card.md.jinja").render(
        {**results, **inputs._asdict()},
        variant=variant,
        head=yaml.safe_dump(_head(variant, inputs), sort_keys=False, allow_unicode=True),
        title=model_in_words(fetch["model"]),
        data=data_in_words(fetch["dataset"]),
        type="float32" if variant.is_float else "int8",
        place=words.PLACES.get(variant, ""),
        mlperf=None if mlperf is None else {**mlperf, **mlperf["variants"][variant]},
        base=comparison["variants"][comparison["baseline"]],
        row=comparison["variants"][variant],
        quantized=decision["variants"].get(variant),
        parameters=[(f"{x}.{key}", value)
                    for x in sections for key, value in inputs.settings[x].items()],
        arithmetic=results["verify_quantized"]["variants"].get(variant),
        warnings=[x["text"] for x in decision["warnings"] if x["kind"] != "sweep"],
    )  # fmt: skip


def _head(variant: Variant, inputs: CardInputs) -> Json:
    """The card's metadata, with the accuracy as `model-index`."""
    fetch, runtime = inputs.settings["fetch"], variant.runtime
    data, accuracy = data_in_words(fetch["dataset"]), inputs.results["scores"]["top1_accuracy"]
    result = {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {"type": _DATASETS[fetch["dataset"]], "name": data, "split": "test"},
        "metrics": [{"type": "accuracy", "name": "top-1 accuracy", "value": accuracy}],
    }
    name = f"{model_in_words(fetch['model'])}, {variant}"
    return {
        "license": "apache-2.0" if fetch["model"] in BUILT_IN_MODELS else "other",
        "library_name": _LIBRARIES[runtime],
        "pipeline_tag": "image-classification",
        "tags": [runtime] if variant.is_float else [runtime, "quantized", "8-bit"],
        "datasets": [_DATASETS[fetch["dataset"]]],
        "metrics": ["accuracy"],
        "model-index": [{"name": name, "results": [result]}],
    }
