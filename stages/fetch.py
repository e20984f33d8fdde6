"""Brings the data set and the pretrained model, checked by SHA-256.

Reads: upstream hosts, or RESNET8_MIRROR (a folder or base URL), or samples/
Writes: data/raw/model.h5 (or .keras), data/raw/cifar-10-batches-py/
Params: fetch, calibrate.batches
"""

import os

from resnet8.core.arguments import parse_paths
from resnet8.core.errors import without_secrets
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.core.sources import (
    CIFAR10_FOLDER,
    fetch_cifar10,
    fetch_model,
    link_source,
    remove_others,
)
from samples.dataset import SAMPLE_MODEL, write_sample


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "params linked out")
    params = load_params(args.params)
    mirror = os.environ.get("RESNET8_MIRROR") or None
    model = str(SAMPLE_MODEL) if params.fetch.model == "sample" else params.fetch.model

    out = fetch_model(model, args.out, sha256=params.fetch.model_sha256, mirror=mirror)
    link_source(params.fetch.model, args.linked)
    members = ["batches.meta", "test_batch", *(f"data_batch_{n}" for n in params.calibrate.batches)]
    folder = args.out / CIFAR10_FOLDER
    if params.fetch.dataset == "sample":
        write_sample(members, folder)
    else:
        fetch_cifar10(members, folder, mirror=mirror)
    remove_others(folder, keep=members)

    source = without_secrets(params.fetch.model)
    print(f"{source} as {out}, {params.fetch.dataset}: {', '.join(members)}")


if __name__ == "__main__":
    run_stage(main)
