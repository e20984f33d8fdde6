"""Makes the unfinished runs of the grid on Dask.

Reads: data/raw/ (the model), artifacts/models/{onnx_fp32.onnx,torch_fp32.pt2}, data/cifar10/,
    artifacts/predictions/<baseline>.npy, sweep/runs.csv
Writes: sweep/runs.csv
Params: sweep, calibrate, convert_onnx, fit, quantize_onnx, quantize_torch, evaluate, compare
"""

import sys
from functools import partial

from tqdm import tqdm

from resnet8.core.arguments import parse_paths
from resnet8.core.errors import PipelineError
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.core.progress import show_progress
from resnet8.sweep import cluster, record
from resnet8.sweep.identity import identify
from resnet8.sweep.measure import read_inputs


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "params raw models data predictions record")
    params = load_params(args.params)

    identity = identify(params, raw=args.raw, data=args.data)
    runs, finished = params.runs, record.read(args.record)
    missing = [run for run in runs if record.key_of(run, identity) not in finished]
    print(f"{len(runs)} runs: {len(runs) - len(missing)} finished before, {len(missing)} to make")
    if not missing:
        return

    inputs = read_inputs(params, models=args.models, data=args.data, predictions=args.predictions)
    report = partial(tqdm.write, file=sys.stderr)
    with cluster.open_client(n_workers=len(missing)) as client:
        outcomes = cluster.compute(client, missing, inputs, report=report)
        outcomes = show_progress(outcomes, desc="sweep", unit="runs", total=len(missing))
        try:
            failed = record.keep(args.record, outcomes, identity)
        except KeyboardInterrupt:
            report(f"finished runs are kept in {args.record}; the next sweep goes on from there")
            raise

    if failed:
        print(record.describe_failures(failed, params.settings), file=sys.stderr)
        raise PipelineError(
            f"All runs must succeed, but {len(failed)} of {len(missing)} failed (see above). The "
            "others are kept; the next sweep tries these again."
        )
    print(f"{len(missing)} runs made, all {len(runs)} are in {args.record}")


if __name__ == "__main__":
    run_stage(main)
