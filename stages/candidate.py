"""Publishes one variant's summary under a fixed path, for `dvc metrics diff`.

Reads: metrics/summary/<candidate>.json
Writes: metrics/candidate.json
Params: candidate (names the file in dvc.yaml)
"""

import argparse
from pathlib import Path

from resnet8.core.files import read_json, write_json
from resnet8.core.processes import run_stage


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--summary", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)

    summary = read_json(args.summary)

    write_json(args.out, summary)
    print(f"candidate is {args.summary.stem}")


if __name__ == "__main__":
    run_stage(main)
