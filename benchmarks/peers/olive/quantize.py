"""Quantizes with Olive's OnnxStaticQuantization; runs in Olive's environment.

Olive takes its calibration images as a PyTorch data set that is registered by name.
"""

import argparse
import os
from pathlib import Path
from typing import Any

os.environ["CI"] = "true"  # what stops Olive's telemetry before its first message

import numpy as np
import olive.workflows  # type: ignore[import-not-found]
import onnx
import torch
from olive.data.registry import Registry  # type: ignore[import-not-found]

# Options of the pass by recipe; `default` leaves all to Olive.
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "s8_percentile": {
        "precision": "int8",
        "activation_type": "int8",
        "per_channel": True,
        "calibrate_method": "Percentile",
        "extra_options": {"CalibPercentile": 99.99},
    },
}
BATCH_SIZE = 100


class CalibrationSet(torch.utils.data.Dataset[tuple[dict[str, torch.Tensor], int]]):
    """Images (N, 32, 32, 3) uint8 as inputs of the model; the label is not used."""

    def __init__(self, path: Path) -> None:
        self._images = np.load(path)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[dict[str, torch.Tensor], int]:
        return {"input": torch.from_numpy(self._images[index].astype(np.float32))}, 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, help="not used: there is nothing to tune")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    @Registry.register_dataset("calibration_set")  # type: ignore[untyped-decorator]
    def load(**_options: object) -> CalibrationSet:
        return CalibrationSet(args.calibration)

    data = {
        "name": "calibration",
        "load_dataset_config": {"type": "calibration_set"},
        "dataloader_config": {"batch_size": BATCH_SIZE},
    }
    step = {"type": "OnnxStaticQuantization", "data_config": "calibration"}
    workflow = {
        "input_model": {"type": "OnnxModel", "model_path": str(args.model)},
        "data_configs": [data],
        "passes": {"quantize": step | RECIPES[args.recipe]},
        "cache_dir": "cache",
        "output_dir": "output",
    }
    best = olive.workflows.run(workflow).get_best_candidate()
    onnx.save(onnx.load(best.model_path), args.out)


if __name__ == "__main__":
    main()
