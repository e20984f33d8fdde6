"""Imports Keras, TensorFlow and tf2onnx: quietly, and without a GPU. Nothing else imports them."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["keras", "tf", "tf2onnx"]


@contextmanager
def _native_messages_hidden() -> Iterator[None]:
    """Hides what C++ code writes to stderr, where TensorFlow greets before it can be told."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


@contextmanager
def _not_installed(*modules: str) -> Iterator[None]:
    """Makes modules seem not to be installed, but for those that are imported already."""
    hidden: dict[str, Any] = {name: None for name in modules if name not in sys.modules}
    sys.modules.update(hidden)
    yield
    for name in hidden:
        del sys.modules[name]


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported
# Keras tries to import these, for uses that are not ours, and takes half as long without.
with _native_messages_hidden(), _not_installed("matplotlib", "pandas", "sklearn"):
    import keras
    import tensorflow as tf
    import tf2onnx

# One device on every machine, so that results do not depend on a GPU being there.
tf.config.set_visible_devices([], "GPU")
# It logs tracebacks of optimizations that it then leaves out.
logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
