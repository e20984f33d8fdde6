"""The pictures that the pipeline makes, by the names of their files.

Shape letters: N images, K classes.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.predictions import confusion_matrix, find_flips
from resnet8.core.dataset import TestSet
from resnet8.core.evaluation import Probabilities
from resnet8.core.variants import FLOAT_VARIANTS
from resnet8.report.figures import class_figures, histograms, layer_figures, outcome_figures
from resnet8.report.figures.canvas import Drawing
from resnet8.report.figures.class_figures import AccuracyInterval
from resnet8.report.figures.feature_maps import draw_feature_maps
from resnet8.report.figures.layer_rows import measured_variants


def layer_drawings(
    inspection: Mapping[str, Any],
    captures: Mapping[str, Mapping[str, NDArray[np.float32]]],
    *,
    sensitivity: Mapping[str, Any] | None = None,
    data: Literal["calibration", "input"] = "calibration",
) -> dict[str, Drawing]:
    """Lists the pictures of layers.

    Args:
        inspection: what artifacts/inspection/layers.json holds; of other models, also the name of
            their `reference`.
        captures: by variant and layer, (N, ...) for the chosen images, of which the first
            is drawn.
        sensitivity: what metrics/sensitivity.json holds.
        data: which images the activations are of.
    """
    layers, parameters = inspection["layers"], inspection["parameters"]
    activations = inspection["activations"][data]
    over, reference = inspection["input"], inspection.get("reference")
    if data == "calibration":
        over = f"{inspection['n_images']['calibration']:,} calibration images"
    image = inspection["input"] + (", the first" if inspection["n_images"]["input"] > 1 else "")
    weights = {x: parameters[x]["weight"] for x in layers if "weight" in parameters.get(x, {})}
    found: dict[str, Drawing] = {
        "layers": partial(layer_figures.draw_ranges, activations, layers=layers, over=over)
    }
    if measured_variants(activations, "sqnr_db"):
        found["sqnr"] = partial(layer_figures.draw_sqnr, activations, layers=layers, over=over)
    if weights:
        found["channel_ranges"] = partial(layer_figures.draw_channel_ranges, weights)
    for variant, row in (sensitivity or {"variants": {}})["variants"].items():
        found[f"sensitivity_{variant}"] = partial(layer_figures.draw_sensitivity, variant, row)
    for layer, name in file_names(layers).items():
        found[f"histograms/{name}"] = partial(
            histograms.draw_layer,
            layer,
            activations[layer],
            parameters=parameters.get(layer, {}),
            over=over,
            absent={v: why[layer] for v, why in inspection["absent"].items() if layer in why},
        )
        outputs = {variant: of[layer][0] for variant, of in captures.items() if layer in of}
        if next(iter(outputs.values()))[0].size > 1:  # its channels are pictures
            found[f"feature_maps/{name}"] = partial(
                draw_feature_maps, layer, outputs, image=image, reference=reference
            )
    return found


def outcome_drawings(
    predictions: Mapping[str, Probabilities],
    test_set: TestSet,
    *,
    comparison: Mapping[str, Any],
    class_accuracies: Iterable[Mapping[str, str]],
) -> dict[str, Drawing]:
    """Lists the pictures of what the baseline and the quantized variants said.

    Args:
        predictions: (N, K) probabilities by variant.
        test_set: what they were asked.
        comparison: what metrics/comparison.json holds.
        class_accuracies: the rows of metrics/plots/per_class_accuracy.csv.
    """
    images, labels, label_names = test_set
    baseline: str = comparison["baseline"]
    variants = [name for name in predictions if name not in (*FLOAT_VARIANTS, baseline)]
    shown = {name: predictions[name] for name in (baseline, *variants)}
    accuracies: dict[str, dict[str, AccuracyInterval]] = {name: {} for name in shown}
    for row in class_accuracies:
        accuracies.setdefault(row["variant"], {})[row["class_name"]] = AccuracyInterval(
            *(float(row[f"{name}_percent"]) for name in ("accuracy", "low", "high"))
        )
    found: dict[str, Drawing] = {
        "per_class_accuracy": partial(
            class_figures.draw_class_accuracy,
            {name: accuracies[name] for name in shown},
            label_names=label_names,
        )
    }
    if variants:
        found["per_class_delta"] = partial(
            class_figures.draw_class_delta,
            comparison,
            variants=variants,
            label_names=label_names,
        )
    confusions = {
        name: confusion_matrix(probabilities, labels, n_classes=len(label_names))
        for name, probabilities in shown.items()
    }
    for variant in variants:
        flips = find_flips(predictions[baseline], predictions[variant], labels)
        found[f"confusion_{variant}"] = partial(
            outcome_figures.draw_confusion,
            confusions[baseline],
            confusions[variant],
            names=(baseline, variant),
            label_names=label_names,
        )
        found[f"flips_{variant}"] = partial(
            outcome_figures.draw_flips,
            images,
            flips,
            names=(baseline, variant),
            label_names=label_names,
        )
    return found


def file_names(layers: Sequence[str]) -> dict[str, str]:
    """Names each layer's files: like the layer, as far as all file systems allow.

    Args:
        layers: different names.

    Returns:
        Names without a suffix, different even where case does not count.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for layer in layers:
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", layer).lstrip(".")[:100] or "_"
        name, count = safe, 1
        while name.lower() in taken:
            count += 1
            name = f"{safe}_{count}"
        taken.add(name.lower())
        found[layer] = name
    return found
