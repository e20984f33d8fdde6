"""One script for each stage of `dvc.yaml`, named like the stage."""

import sys

from resnet8.core.processes import stand_by

if sys.argv[0] == "-m":  # `python -m stages.<name>` is about to import it
    stand_by()
