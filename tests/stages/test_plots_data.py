"""The stage that writes the tables of DVC's plots."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from resnet8.core.errors import ArtifactError
from resnet8.core.variants import FLOAT_VARIANTS
from resnet8.sweep.plot_data import Choice, Draw
from stages import plots_data
from tests.parameters import TEST_PARAMS
from tests.pipeline.commands import ROOT

NAMES = [f"class {k}" for k in range(10)]
LAYERS = ["conv", "dense"]
Tables = dict[str, list[dict[str, str]]]


def write_inputs(folder: Path, quantized: tuple[str, ...]) -> list[str]:
    """All that the stage reads, for two layers and the first nine classes; its arguments."""
    content = yaml.safe_load(TEST_PARAMS.read_text())
    for runtime in ("onnx", "torch"):
        types = [x.removeprefix(f"{runtime}_") for x in quantized if x.startswith(runtime)]
        content[f"quantize_{runtime}"]["types"] = types
    (folder / "params.yaml").write_text(yaml.safe_dump(content))

    rng = np.random.default_rng(0)
    for name in ("data", "predictions"):
        (folder / name).mkdir()
    np.save(folder / "data" / "test_labels.npy", np.arange(90) % 9)
    np.save(folder / "data" / "test_images.npy", np.zeros((90, 32, 32, 3), np.uint8))
    (folder / "data" / "labels.json").write_text(json.dumps({"label_names": NAMES}))
    for name in (*FLOAT_VARIANTS, *quantized):
        probabilities = rng.dirichlet([1] * 10, 90).astype(np.float32)
        np.save(folder / "predictions" / f"{name}.npy", probabilities)

    statistics = {name: {"statistics": {"sqnr_db": 30.0}} for name in (*FLOAT_VARIANTS, *quantized)}
    inspection = {
        "layers": LAYERS,
        "activations": {"calibration": dict.fromkeys(LAYERS, statistics)},
    }
    (folder / "layers.json").write_text(json.dumps(inspection))
    cost = {"kl_divergence": 0.25, "agreement": 0.5}
    ranked = {layer: {"alone": cost, "spared": cost, "rank": 1} for layer in LAYERS}
    sensitivity = {"variants": {name: {"layers": ranked} for name in quantized}}
    (folder / "sensitivity.json").write_text(json.dumps(sensitivity))

    paths: dict[str, Any] = {
        "params": "params.yaml", "predictions": "predictions", "data": "data",
        "layers": "layers.json", "sensitivity": "sensitivity.json", "out": "out",
    }  # fmt: skip
    return [part for key, name in paths.items() for part in (f"--{key}", str(folder / name))]


def read_tables(folder: Path) -> Tables:
    tables = {}
    for path in folder.iterdir():
        with path.open(encoding="utf-8", newline="") as file:
            tables[path.stem] = list(csv.DictReader(file))
    return tables


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    plots_data.main(write_inputs(tmp_path, ("onnx_uint8", "torch_int8")))
    return read_tables(tmp_path / "out")


def test_plots_data_writes_a_table_for_each_plot_of_dvc_yaml(tables: Tables) -> None:
    definitions = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    drawn = {}
    for definition in definitions:
        for plot in definition.values():
            ((path, y),) = plot["y"].items()
            drawn.setdefault(Path(path).stem, set()).update({plot["x"], y})
    of_the_sweep = {name for name in drawn if name.startswith("sweep_")}
    assert set(drawn) - of_the_sweep == set(tables)
    for name in tables:
        assert drawn[name] <= set(tables[name][0]), name
    assert drawn["sweep_size"] <= set(Draw._fields)
    assert drawn["sweep_front"] <= set(Choice._fields)


def test_plots_data_has_every_variant_where_images_are_counted(tables: Tables) -> None:
    variants = [*FLOAT_VARIANTS, "onnx_uint8", "torch_int8"]
    for name in ("per_class_accuracy", "confusion"):
        assert list(dict.fromkeys(row["variant"] for row in tables[name])) == variants
    assert len(tables["confusion"]) == 5 * 10 * 10
    assert len(tables["per_class_accuracy"]) == 5 * 9


def test_plots_data_has_only_quantized_variants_where_layers_are_compared(tables: Tables) -> None:
    for name in ("sqnr", "sensitivity"):
        found = [(row["variant"], row["layer"]) for row in tables[name]]
        assert found == [(x, layer) for x in ("onnx_uint8", "torch_int8") for layer in LAYERS]


def test_plots_data_without_quantized_variants_writes_empty_tables(tmp_path: Path) -> None:
    plots_data.main(write_inputs(tmp_path, ()))
    tables = read_tables(tmp_path / "out")
    assert tables["sqnr"] == tables["sensitivity"] == []
    assert len(tables["confusion"]) == 3 * 10 * 10


def test_plots_data_names_a_file_that_is_missing(tmp_path: Path) -> None:
    command = write_inputs(tmp_path, ("onnx_int8",))
    (tmp_path / "sensitivity.json").unlink()
    with pytest.raises(ArtifactError, match=r"sensitivity\.json must be a JSON file"):
        plots_data.main(command)
