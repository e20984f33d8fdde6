"""Summarizes the finished runs: sufficient calibration images, and best settings.

Reads: sweep/runs.csv, data/raw/ (the model), data/cifar10/
Writes: metrics/sweep.json, metrics/plots/{sweep_size,sweep_front}.csv
Params: sweep, calibrate, convert_onnx, fit, quantize_onnx, quantize_torch, evaluate, compare
"""

from resnet8.compare.chance import chance_accuracy
from resnet8.core.arguments import parse_paths
from resnet8.core.files import csv_bytes, read_array, write_bytes, write_json
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.sweep import record
from resnet8.sweep.identity import identify
from resnet8.sweep.selection import select
from resnet8.sweep.summary import (
    CHOICE_COLUMNS,
    DRAW_COLUMNS,
    list_choices,
    list_draws,
    summarize,
)


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "params record raw data out plots")
    params = load_params(args.params)

    identity = identify(params, raw=args.raw, data=args.data)
    finished = record.read(args.record)

    labels, runs, usual = read_array(args.data / "test_labels.npy"), params.runs, params.settings
    selection = select(finished, runs, identity, usual=usual, n_images=len(labels))
    summary = summarize(selection, n_runs=len(runs), chance=chance_accuracy(labels))
    draws = csv_bytes(DRAW_COLUMNS, list_draws(selection.settings))
    choices = csv_bytes(CHOICE_COLUMNS, list_choices(summary))

    write_json(args.out, summary)
    write_bytes(args.plots / "sweep_size.csv", draws)
    write_bytes(args.plots / "sweep_front.csv", choices)
    print(summary["note"] or f"All {len(runs)} runs are finished.")
    print(summary["answer"] or "No run says how much calibration is enough: see `make sweep`.")


if __name__ == "__main__":
    run_stage(main)
