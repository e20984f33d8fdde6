"""Runs the gate: `python -m resnet8.gate`.

Python ends with 1 where a program fails by itself, and 1 is a regression here.
"""

import sys
import traceback
from contextlib import suppress

if __name__ == "__main__":
    try:
        from resnet8.gate.command import main

        code = main()
    except Exception:
        code = 2
        with suppress(OSError):  # stderr is closed
            traceback.print_exc()
    sys.exit(code)
