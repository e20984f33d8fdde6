"""Imports Keras, TensorFlow and tf2onnx: quietly, and without a GPU. Nothing else imports them."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["keras", "tf", "tf2onnx"]


@contextmanager
def _importing() -> Iterator[None]:
    """Hides native messages on stderr, and optional packages that make Keras import slowly."""
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    optional = {"matplotlib", "pandas", "sklearn"} - sys.modules.keys()
    hidden: dict[str, Any] = dict.fromkeys(optional)
    sys.modules.update(hidden)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)
        for name in hidden:
            del sys.modules[name]


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported
with _importing():
    import keras
    import tensorflow as tf
    import tf2onnx

# One device on every machine, so that results do not depend on a GPU.
tf.config.set_visible_devices([], "GPU")
# It logs tracebacks of optimizations that it then skips.
logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
