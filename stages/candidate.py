"""Publishes one variant's metrics under a fixed path, for `dvc metrics diff`.

Reads: metrics/summary/<candidate>.json
Writes: metrics/candidate.json
Params: candidate (names the file in dvc.yaml)
"""

from resnet8.core.arguments import parse_paths
from resnet8.core.files import read_json, write_json
from resnet8.core.processes import run_stage


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "summary out")

    summary = read_json(args.summary)

    write_json(args.out, summary)
    print(f"candidate is {args.summary.stem}")


if __name__ == "__main__":
    run_stage(main)
