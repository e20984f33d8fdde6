"""Runs stages of projects in one process: `python tests/cpus/run_pipeline.py PROJECT...`.

Each project is a folder with commands.json, the commands of its stages in order. TensorFlow and
PyTorch are imported once for all projects: under emulation an import takes over half a minute.
"""

# ruff: noqa: E402  # imports, too, are faster without a search for garbage

import gc
import json
import os
import sys
from importlib import import_module
from pathlib import Path

gc.disable()  # as in a stage that DVC runs

import resnet8  # noqa: F401  # before PyTorch, which it holds to kernels that all CPUs have

# isort: split
import torch

from resnet8.core.params import load_params
from resnet8.sweep.identity import identify

for project in [Path(name).resolve() for name in sys.argv[1:]]:
    os.chdir(project)
    Path("cpu.json").write_text(json.dumps(dict(torch.cpu.get_capabilities())))
    for command in json.loads(Path("commands.json").read_text()):
        _python, _m, stage, *arguments = command.split()
        import_module(stage).main(arguments)
    identity = identify(
        load_params(Path("params.yaml")), raw=Path("data/raw"), data=Path("data/cifar10")
    )
    Path("identity.json").write_text(json.dumps(identity._asdict()))
