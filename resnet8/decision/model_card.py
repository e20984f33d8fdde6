"""Writes a model card for one variant: Markdown with a YAML head that model hubs read.

Source: https://huggingface.co/docs/hub/model-cards, https://github.com/huggingface/hub-docs
(modelcard.md: keys of `model-index`).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from resnet8.core import markdown
from resnet8.core.names import data_in_words, model_in_words
from resnet8.core.provenance import Fingerprint
from resnet8.core.variants import Variant
from resnet8.decision import words

Json = Mapping[str, Any]
_DATASETS = {"cifar10": "uoft-cs/cifar10", "sample": "shapes"}  # as hubs call them
_CODE = {
    "onnx": """\
    import onnxruntime
    session = onnxruntime.InferenceSession("{path}")
    (probabilities,) = session.run(["probabilities"], {{"input": images}})""",
    "torch": """\
    import torch
    probabilities = torch.export.load("{path}").module()(torch.from_numpy(images))""",
    "keras": """\
    import keras
    probabilities = keras.saving.load_model("{path}").predict(images)""",
}


class CardInputs(NamedTuple):
    """All that a card is made from.

    comparison, decision, lint, network, scores, verification: what metrics/comparison.json,
        decision.json, quantization_lint.json, network.json, <variant>.json and
        verify_quantized.json hold.
    settings: the sections of params.yaml that decide the numbers: `fetch`, `convert_onnx`,
        `calibrate` and `fit`.
    model, original: the files of the variant and of the Keras model.
    calibration: the file of calibration images.
    test_set_sha256: of the test images, labels and class names.
    """

    comparison: Json
    decision: Json
    lint: Json
    network: Json
    scores: Json
    verification: Json
    settings: Json
    model: Fingerprint
    original: Fingerprint
    calibration: Fingerprint
    test_set_sha256: str


def choose_variant(decision: Json, candidate: str) -> Variant:
    """The candidate of params.yaml if it is quantized, else the recommended variant."""
    if not Variant(candidate).is_float:
        return Variant(candidate)
    return Variant(decision["recommended"] or Variant.ONNX_FP32)


def write_card(variant: Variant, inputs: CardInputs) -> str:
    """Fills the card of a variant; the same text for the same inputs."""
    # Of Markdown, in which what comes from outside is escaped below.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    fetch, scores = inputs.settings["fetch"], inputs.scores
    classes = scores["per_class_accuracy"]
    name = min(classes, key=lambda name: classes[name])
    mlperf = inputs.decision["mlperf_tiny"]
    return environment.get_template("model_card.md.jinja").render(
        head=yaml.safe_dump(_head(variant, inputs), sort_keys=False, allow_unicode=True),
        model=markdown.escape(model_in_words(fetch["model"])),
        data=data_in_words(fetch["dataset"]),
        numbers="float32" if variant.is_float else "quantized to 8 bits",
        made=f"converted to {variant.runtime.upper() if variant.runtime == 'onnx' else 'PyTorch'}"
        if variant.is_float
        else "quantized after training",
        type="float32" if variant.is_float else "int8",
        classes=[markdown.escape(x) for x in classes],
        worst={"name": markdown.escape(name), "accuracy": classes[name]},
        code=_CODE[variant.runtime].format(path=inputs.model.path),
        place=words.place(variant),
        mlperf=mlperf and {**mlperf, **mlperf["variants"][variant]},
        accuracy=_accuracy_table(variant, inputs),
        by_class=_class_table(variant, inputs),
        settings=_settings(variant, inputs.settings),
        arithmetic=_arithmetic(variant, inputs.verification),
        warnings=[
            markdown.escape(x["text"])
            for x in inputs.decision["warnings"]
            if x["kind"] != "sweep"
        ],
        file=inputs.model,
        files=markdown.table(
            [("file", "bytes", "SHA-256")]
            + [(f"`{x.path}`", f"{x.size_bytes:,}", x.sha256)
               for x in (inputs.model, inputs.original, inputs.calibration)]
        ),
        test_set_sha256=inputs.test_set_sha256,
        comparison=inputs.comparison,
        network=inputs.network,
        peak_at=markdown.escape(inputs.network["peak_activation_bytes"]["at"]),
        lint=inputs.lint,
    )  # fmt: skip


def _head(variant: Variant, inputs: CardInputs) -> Json:
    fetch = inputs.settings["fetch"]
    model = model_in_words(fetch["model"])
    metrics = [{"type": "accuracy", "name": "top-1 accuracy",
                "value": inputs.scores["top1_accuracy"]}]  # fmt: skip
    dataset = {"type": _DATASETS[fetch["dataset"]], "name": data_in_words(fetch["dataset"]),
               "split": "test"}  # fmt: skip
    is_own = fetch["model"] in {"mlperf_tiny", "sample"}
    return {
        "license": "apache-2.0" if is_own else "other",
        "library_name": {"onnx": "onnx", "torch": "pytorch", "keras": "keras"}[variant.runtime],
        "pipeline_tag": "image-classification",
        "tags": ["onnx" if variant.runtime == "onnx" else variant.runtime,
                 *([] if variant.is_float else ["quantized", "8-bit"])],
        "datasets": [dataset["type"]],
        "metrics": ["accuracy"],
        "model-index": [{
            "name": f"{model}, {variant}",
            "results": [{
                "task": {"type": "image-classification", "name": "Image classification"},
                "dataset": dataset,
                "metrics": metrics,
            }],
        }],
    }  # fmt: skip


def _accuracy_table(variant: Variant, inputs: CardInputs) -> str:
    comparison = inputs.comparison
    row, base = (comparison["variants"][x] for x in (variant, comparison["baseline"]))
    delta = (
        f"{row['accuracy_delta_pp']:+.2f} percentage points "
        f"({row['ci95_low_pp']:+.2f} to {row['ci95_high_pp']:+.2f})"
    )
    quantized = inputs.decision["variants"].get(variant)
    float_file = (
        f"{quantized['float_file_bytes']:,} bytes (`{variant.original}`)" if quantized else ""
    )
    return markdown.table(
        [
            ("", f"`{comparison['baseline']}`", f"`{variant}`"),
            ("top-1 accuracy", f"{100 * base['top1_accuracy']:.2f}%",
             f"{100 * row['top1_accuracy']:.2f}%"),
            ("difference", "", delta),
            ("images that get the same class", "", f"{100 * row['agreement']:.2f}%"),
            ("file", float_file, f"{inputs.model.size_bytes:,} bytes"),
        ]
    )  # fmt: skip


def _class_table(variant: Variant, inputs: CardInputs) -> str:
    row, scores = inputs.comparison["variants"][variant], inputs.scores["per_class_accuracy"]
    rows = [
        (
            markdown.escape(name),
            f"{100 * accuracy:.1f}",
            f"{row['per_class_delta_pp'][name]:+.1f} ({{:+.1f}} to {{:+.1f}})".format(
                *row["per_class_ci95_pp"][name]
            ),
        )
        for name, accuracy in scores.items()
    ]
    return markdown.table(
        [("class", f"`{variant}`, accuracy %", "difference, percentage points"), *rows]
    )


def _settings(variant: Variant, settings: Json) -> str:
    """The parameters that decide the variant's numbers, as a table."""
    sections = ("fetch", "convert_onnx") if variant.is_float else (
        "fetch", "convert_onnx", "calibrate", "fit")  # fmt: skip
    rows = [
        (
            f"`{section}.{key}`",
            markdown.escape(value if isinstance(value, str) else json.dumps(value)),
        )
        for section in sections
        for key, value in settings[section].items()
    ]
    return markdown.table([("parameter", "value"), *rows])


def _arithmetic(variant: Variant, verification: Json) -> str:
    row = verification["variants"].get(variant)
    if row is None:
        return ""
    if row["saturating_products"]:
        return (
            "8-bit products of this variant saturate on CPUs without VNNI, as on the one that "
            "measured: other CPUs give other results."
        )
    start = f"All {row['codes']:,} codes of {verification['n_images']} test images are those of"
    if not row["largest_difference"]:
        return f"{start} exact 8-bit arithmetic."
    return (
        f"{start} exact 8-bit arithmetic, but for values within "
        f"{row['distance_from_tie_at_most']:g} steps of a tie between two codes, which float32 "
        "rounds either way."
    )
