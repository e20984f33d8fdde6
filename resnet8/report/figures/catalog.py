"""The figures of a model's layers, by the names of their files.

Shape letters: N images.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resnet8.core.files import Json
from resnet8.report.figures import histograms, layer_figures
from resnet8.report.figures.canvas import Drawing
from resnet8.report.figures.feature_maps import draw_feature_maps
from resnet8.report.figures.layer_rows import measured_variants


def layer_drawings(
    inspection: Json,
    captures: Mapping[str, Mapping[str, NDArray[np.float32]]],
    *,
    data: Literal["calibration", "input"] = "calibration",
) -> dict[str, Drawing]:
    """Lists the figures of layers.

    Args:
        inspection: artifacts/inspection/layers.json; of models from elsewhere also the name of
            their `reference`.
        captures: by variant and layer, (N, ...) for the chosen images; the first one is drawn.
        data: the images that activations are of.
    """
    layers, parameters = inspection["layers"], inspection["parameters"]
    drawings: dict[str, Drawing] = {
        "layers": partial(layer_figures.draw_ranges, inspection, data=data)
    }
    if measured_variants(inspection["activations"][data], "sqnr_db"):
        drawings["sqnr"] = partial(layer_figures.draw_sqnr, inspection, data=data)
    weights = {x: parameters[x]["weight"] for x in layers if "weight" in parameters.get(x, {})}
    if weights:
        drawings["channel_ranges"] = partial(layer_figures.draw_channel_ranges, weights)
    first = ", the first" if inspection["n_images"]["input"] > 1 else ""
    of_image = {"image": inspection["input"] + first, "reference": inspection.get("reference")}
    for layer, name in file_names(layers).items():
        drawings[f"histograms/{name}"] = partial(
            histograms.draw_layer, layer, inspection, data=data
        )
        outputs = {variant: of[layer][0] for variant, of in captures.items() if layer in of}
        if next(iter(outputs.values()))[0].size > 1:  # its channels are pictures
            drawings[f"feature_maps/{name}"] = partial(
                draw_feature_maps, layer, outputs, **of_image
            )
    return drawings


def file_names(layers: Sequence[str]) -> dict[str, str]:
    """Returns a file name for each layer, without suffix, that all file systems accept.

    Names of different layers differ even where upper and lower case do not.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for layer in layers:
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", layer).lstrip(".")[:100] or "_"
        choices = (f"{safe}_{i}" if i > 1 else safe for i in count(1))
        names[layer] = next(name for name in choices if name.lower() not in taken)
        taken.add(names[layer].lower())
    return names
