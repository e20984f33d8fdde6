"""The figures that the pipeline draws, by the names of their files.

Shape letters: N images, K classes.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from resnet8.compare import plot_data
from resnet8.compare.predictions import confusion_matrix, find_flips
from resnet8.core.dataset import TestSet
from resnet8.core.evaluation import Probabilities
from resnet8.core.variants import FLOAT_VARIANTS
from resnet8.report.figures import class_figures, histograms, layer_figures, outcome_figures
from resnet8.report.figures.canvas import Drawing
from resnet8.report.figures.feature_maps import draw_feature_maps
from resnet8.report.figures.layer_rows import measured_variants

MAX_FLIPS = 24


def layer_drawings(
    inspection: Mapping[str, Any],
    captures: Mapping[str, Mapping[str, NDArray[np.float32]]],
    *,
    sensitivity: Mapping[str, Any] | None = None,
    data: Literal["calibration", "input"] = "calibration",
) -> dict[str, Drawing]:
    """Lists the figures of layers.

    Args:
        inspection: artifacts/inspection/layers.json; of models from elsewhere also the name of
            their `reference`.
        captures: by variant and layer, (N, ...) for the chosen images; the first one is drawn.
        sensitivity: metrics/sensitivity.json.
        data: the images that activations are of.
    """
    layers, parameters = inspection["layers"], inspection["parameters"]
    activations = inspection["activations"][data]
    over = inspection["input"]
    image = over + (", the first" if inspection["n_images"]["input"] > 1 else "")
    if data == "calibration":
        over = f"{inspection['n_images']['calibration']:,} calibration images"
    drawings: dict[str, Drawing] = {
        "layers": partial(layer_figures.draw_ranges, activations, layers=layers, over=over)
    }
    if measured_variants(activations, "sqnr_db"):
        drawings["sqnr"] = partial(layer_figures.draw_sqnr, activations, layers=layers, over=over)
    weights = {x: parameters[x]["weight"] for x in layers if "weight" in parameters.get(x, {})}
    if weights:
        drawings["channel_ranges"] = partial(layer_figures.draw_channel_ranges, weights)
    for variant, ranking in (sensitivity or {"variants": {}})["variants"].items():
        drawings[f"sensitivity_{variant}"] = partial(
            layer_figures.draw_sensitivity, variant, ranking
        )
    for layer, name in file_names(layers).items():
        drawings[f"histograms/{name}"] = partial(
            histograms.draw_layer,
            layer,
            activations[layer],
            parameters=parameters.get(layer, {}),
            over=over,
            absent={v: why[layer] for v, why in inspection["absent"].items() if layer in why},
        )
        outputs = {variant: of[layer][0] for variant, of in captures.items() if layer in of}
        if next(iter(outputs.values()))[0].size > 1:  # its channels are pictures
            drawings[f"feature_maps/{name}"] = partial(
                draw_feature_maps,
                layer,
                outputs,
                image=image,
                reference=inspection.get("reference"),
            )
    return drawings


def outcome_drawings(
    predictions: Mapping[str, Probabilities], test_set: TestSet, *, comparison: Mapping[str, Any]
) -> dict[str, Drawing]:
    """Lists the figures of predictions, of the baseline and the quantized variants.

    Args:
        predictions: (N, K) probabilities by variant.
        test_set: the images and their classes.
        comparison: metrics/comparison.json.
    """
    images, labels, names = test_set
    baseline: str = comparison["baseline"]
    variants = [name for name in predictions if name not in (*FLOAT_VARIANTS, baseline)]
    drawn = {name: predictions[name] for name in (baseline, *variants)}
    accuracies = plot_data.class_accuracies(drawn, labels, label_names=names)
    drawings: dict[str, Drawing] = {
        "per_class_accuracy": partial(
            class_figures.draw_class_accuracy, accuracies, names=names
        )
    }  # fmt: skip
    if variants:
        drawings["per_class_delta"] = partial(
            class_figures.draw_class_delta, comparison, variants=variants, names=names
        )
    matrices = {
        name: confusion_matrix(probabilities, labels, n_classes=len(names))
        for name, probabilities in drawn.items()
    }
    for variant in variants:
        both: dict[str, Any] = {"models": (baseline, variant), "names": names}
        flips = find_flips(predictions[baseline], predictions[variant], labels)
        drawings[f"confusion_{variant}"] = partial(
            outcome_figures.draw_confusion, matrices[baseline], matrices[variant], **both
        )
        drawings[f"flips_{variant}"] = partial(
            outcome_figures.draw_flips,
            images[[flip.image for flip in flips[:MAX_FLIPS]]],
            flips[:MAX_FLIPS],
            totals=(len(flips), len(images)),
            **both,
        )
    return drawings


def file_names(layers: Sequence[str]) -> dict[str, str]:
    """Returns a file name for each layer, without suffix, that all file systems accept.

    Names of different layers differ even where upper and lower case do not.
    """
    names: dict[str, str] = {}
    for layer in layers:
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", layer).lstrip(".")[:100] or "_"
        taken = {name.lower() for name in names.values()}
        name, count = safe, 1
        while name.lower() in taken:
            count += 1
            name = f"{safe}_{count}"
        names[layer] = name
    return names
