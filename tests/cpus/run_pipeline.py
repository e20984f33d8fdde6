"""Runs stages of projects in one process: `python -m tests.cpus.run_pipeline PROJECT...`.

Each project is a folder with commands.json, its stages' commands in order. TensorFlow and PyTorch
are imported once for all: under emulation that takes longer than a model.
"""

import json
import os
import shlex
import sys
from importlib import import_module
from pathlib import Path

import torch

for project in map(Path, sys.argv[1:]):
    os.chdir(project)
    Path("cpu.json").write_text(json.dumps(dict(torch.cpu.get_capabilities())))
    for command in json.loads(Path("commands.json").read_text()):
        _python, _m, stage, *arguments = shlex.split(command)
        import_module(stage).main(arguments)
