"""Checks all parameters before any other stage runs, and clears variants no longer asked for.

Reads: params.yaml
Writes: data/params.schema.json (the same for all valid parameters)
Params: all
"""

import argparse
from pathlib import Path

from resnet8.errors import run_stage
from resnet8.files import remove_other_variants, write_json
from resnet8.params import Params, load_params


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--predictions", type=Path, default=Path("artifacts/predictions"))
    parser.add_argument("--metrics", type=Path, default=Path("metrics"))
    parser.add_argument("--out", type=Path, default=Path("data/params.schema.json"))
    parser.add_argument("--check-only", action="store_true", help="write and remove nothing")
    args = parser.parse_args(argv)
    params = load_params(args.params)
    if args.check_only:
        return

    removed = remove_other_variants(args.predictions, params.variants, suffix=".npy")
    removed += remove_other_variants(args.metrics, params.variants, suffix=".json")

    write_json(args.out, Params.model_json_schema())
    print(f"{args.params} is valid; removed {len(removed)} files of variants no longer asked for")


if __name__ == "__main__":
    run_stage(main)
