"""Checks all parameters before any other stage runs, and deletes files of dropped variants.

Reads: params.yaml, data/linked/
Writes: data/params.schema.json (the same for all valid parameters)
Params: all
"""

import argparse
import sys
from pathlib import Path

from resnet8.core import cpu
from resnet8.core.files import remove, remove_dangling_links, write_json
from resnet8.core.params import Params, check_files, load_params
from resnet8.core.processes import run_stage
from resnet8.core.variants import QUANTIZED_VARIANTS


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--predictions", type=Path, default=Path("artifacts/predictions"))
    parser.add_argument("--linked", type=Path, default=Path("data/linked"))
    parser.add_argument("--metrics", type=Path, default=Path("metrics"))
    parser.add_argument("--models", type=Path, default=Path("artifacts/models"))
    parser.add_argument("--out", type=Path, default=Path("data/params.schema.json"))
    parser.add_argument("--check-only", action="store_true", help="write and remove nothing")
    args = parser.parse_args(argv)
    params = load_params(args.params)
    check_files(params, where=str(args.params))
    if args.check_only:
        if difference := cpu.find_difference():
            print(f"warning: {difference}", file=sys.stderr)
        return

    others = [name for name in QUANTIZED_VARIANTS if name not in params.variants]
    files = [args.predictions / f"{name}.npy" for name in others]
    files += [args.metrics / f"{name}.json" for name in others]
    files += [name.path(args.models) for name in others]
    removed = [path for path in files if path.exists()]
    for path in removed:
        remove(path)
    remove_dangling_links(args.linked)

    write_json(args.out, Params.model_json_schema())
    print(f"{args.params} is valid")
    for path in removed:
        print(f"removed {path}: {args.params} does not name this variant any more")


if __name__ == "__main__":
    run_stage(main)
