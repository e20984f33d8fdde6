"""One script for each stage of `dvc.yaml`, named like the stage."""
