"""Imports Keras, TensorFlow and tf2onnx: quietly, and without a GPU. Nothing else imports them."""

import logging
import os
import sys
from contextlib import ExitStack
from pathlib import Path

__all__ = ["keras", "tf", "tf2onnx"]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported
# Hides native messages on stderr, and optional packages that slow down the import of Keras.
with os.fdopen(os.dup(2)) as _stderr, Path(os.devnull).open("w") as _devnull, ExitStack() as _stack:
    _stack.callback(os.dup2, _stderr.fileno(), 2)
    os.dup2(_devnull.fileno(), 2)
    for _name in {"matplotlib", "pandas", "sklearn"} - sys.modules.keys():
        sys.modules[_name] = None  # type: ignore[assignment]
        _stack.callback(sys.modules.pop, _name)
    import keras
    import tensorflow as tf
    import tf2onnx

# One device on every machine, so that results do not depend on a GPU.
tf.config.set_visible_devices([], "GPU")
# tf2onnx logs tracebacks of optimizations that it then skips.
logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
