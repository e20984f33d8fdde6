"""Models with all kinds of Keras layers that the pipeline supports, and layers that it rejects.

docs/your-model.md lists them, and tests/quantize/test_architectures.py tests them.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from resnet8.models.keras_graph import flatten
from resnet8.models.keras_model import keras

layers, ops = keras.layers, keras.ops
Build = Callable[[Any], Any]  # from images (N, 32, 32, 3) to activations of any shape
ACTIVATIONS = (
    *("celu", "elu", "exponential", "gelu", "hard_sigmoid", "hard_swish", "hard_tanh"),
    *("leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu"),
    *("softmax", "softplus", "softsign", "squareplus", "swish", "tanh"),
)


def stem(x: Any) -> Any:
    """(N, 8, 8, 8) activations."""
    return layers.Conv2D(8, 3, strides=4, padding="same", activation="relu")(x)


def convolutions(x: Any) -> Any:
    x = layers.Conv2D(8, 5, strides=3, padding="same", activation="relu")(x)
    x = layers.Conv2D(8, 3, groups=2, dilation_rate=2)(x)
    grouped = layers.Conv2D(8, 1, groups=4, use_bias=False)
    x = layers.BatchNormalization()(grouped(grouped(x)))
    x = layers.ReLU()(layers.BatchNormalization()(layers.SeparableConv2D(8, 3)(x)))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    return layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu")(x)


def pooling(x: Any) -> Any:
    x = layers.MaxPooling2D(3, strides=2, padding="same")(stem(x))
    x = layers.AveragePooling2D(3, strides=2, padding="same")(x)
    means, peaks = layers.GlobalAveragePooling2D(keepdims=True), layers.GlobalMaxPooling2D()
    return layers.Concatenate()([layers.Flatten()(means(x)), peaks(x)])


def shapes(x: Any) -> Any:
    x = layers.ZeroPadding2D(((1, 2), (0, 3)))(layers.CenterCrop(24, 24)(x))
    x = layers.Cropping2D(((1, 2), (0, 3)))(stem(x))
    x = layers.UpSampling2D((2, 3))(x)
    x = layers.UpSampling2D(2, interpolation="bilinear")(layers.Permute((2, 1, 3))(x))
    x = layers.Resizing(6, 5)(x)
    x = layers.RepeatVector(2)(layers.Flatten()(x))
    return layers.Reshape((4, 5, 24))(x)


def joining(x: Any) -> Any:
    x, other = stem(x), layers.Conv2D(8, 1)
    x = layers.Add()([x, other(x)])
    x = layers.Multiply()(
        [x, layers.Dense(8, activation="sigmoid")(layers.Flatten()(x))[:, None, None]]
    )
    x = layers.Maximum()([x, layers.Subtract()([x, layers.Conv2D(8, 1)(x)])])
    x = layers.Average()([x, layers.Minimum()([x, layers.Conv2D(8, 1)(x)])])
    return layers.Concatenate()([x, layers.Conv2D(4, 1, activation="relu")(x)])


def normalization(x: Any) -> Any:
    x = layers.Normalization(mean=[125.3, 123.0, 113.9], variance=[3969.0, 3856.0, 4449.0])(x)
    x = layers.BatchNormalization()(layers.Rescaling(0.9, offset=0.1)(x))
    x = layers.LayerNormalization()(stem(x))
    x = layers.GroupNormalization(4)(layers.Conv2D(8, 3)(x))
    return layers.UnitNormalization()(layers.Conv2D(8, 3, activation="relu")(x))


def activations(x: Any) -> Any:
    x = stem(layers.Rescaling(1 / 255)(x))
    outputs = [layers.ReLU(3.0)(x), layers.LeakyReLU()(x), layers.PReLU(shared_axes=[1, 2])(x)]
    outputs += [layers.ELU()(x), layers.Softmax()(x)]
    return layers.Concatenate()([*outputs, *(layers.Activation(name)(x) for name in ACTIVATIONS)])


def dense(x: Any) -> Any:
    x = layers.MaxPooling2D(2)(stem(x))
    y = layers.Dense(6, activation="relu")(layers.Dense(12, activation="relu")(layers.Flatten()(x)))
    x = layers.EinsumDense("abcd,de->abce", output_shape=(None, None, 6))(x)
    return layers.Concatenate()([layers.GlobalAveragePooling2D()(x), y])


def attention(x: Any) -> Any:
    x = layers.Reshape((16, 8))(layers.MaxPooling2D(2)(stem(x)))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)])
    return layers.Attention()([x, layers.Dense(8)(layers.LayerNormalization()(x))])


def training(x: Any) -> Any:
    x = layers.RandomTranslation(0.1, 0.1)(layers.RandomFlip()(layers.Rescaling(1 / 255)(x)))
    x = layers.SpatialDropout2D(0.1)(layers.GaussianNoise(0.1)(stem(x)))
    return layers.Identity()(layers.ActivityRegularization(0.1)(layers.Dropout(0.1)(x)))


def operations(x: Any) -> Any:
    x = (x[:, 2:30, 2:30, ::-1] - np.array([125.3, 123.0, 113.9], np.float32)) / 64.0
    x = stem(x)
    x = ops.concatenate([x, -x[:, ::-1]], axis=-1)
    return ops.clip(x - ops.mean(x, axis=(1, 2), keepdims=True), -4.0, 4.0) * ops.sigmoid(x)


def models(x: Any) -> Any:
    inner = keras.Input((8, 8, 8))
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(8, 3, name="conv")(inner))
    backbone = keras.Model(inner, y, name="backbone")
    head = keras.Sequential([layers.Conv2D(8, 1, name="conv"), layers.ReLU()], name="head")
    shared = layers.Conv2D(8, 3, padding="same", activation="relu")
    return head(backbone(shared(shared(stem(x)))))


KINDS: dict[str, Build] = {
    "convolutions": convolutions,
    "pooling": pooling,
    "dense": dense,
    "normalization": normalization,
    "activations": activations,
    "joining": joining,
    "shapes": shapes,
    "attention": attention,
    "in training only": training,
    "operations": operations,
    "structure": models,
}
REFUSED: dict[str, tuple[Build, str]] = {  # and what the message says
    "LSTM": (lambda x: layers.LSTM(4)(layers.Reshape((8, 64))(stem(x))), r"\(LSTM\)"),
    "GRU": (lambda x: layers.GRU(4)(layers.Reshape((8, 64))(stem(x))), r"\(GRU\)"),
    "bicubic UpSampling2D": (
        lambda x: layers.UpSampling2D(2, interpolation="bicubic")(stem(x)),
        r"\(UpSampling2D\)",
    ),
    "layers in float16": (
        layers.Conv2D(8, 3, dtype="mixed_float16"),
        r"\(Conv2D\) must compute in float32, got the type mixed_float16",
    ),
}


def build(kind: Build) -> Any:
    """A classifier with such layers; weights are random, none of them is zero."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = kind(inputs)
    x = (
        layers.GlobalAveragePooling2D(dtype="float32")(x)
        if len(x.shape) == 4
        else layers.Flatten()(x)
    )
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(x))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "moving_variance" in weight.path or "gamma" in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "bias", "moving_mean"):
            weight.assign(rng.normal(0, 0.1, weight.shape))
    return model


# The row of layers that are in several.
_ROWS = {
    **dict.fromkeys(("Add", "Concatenate", "Multiply", "Subtract"), "joining"),
    **dict.fromkeys(("BatchNormalization", "LayerNormalization", "Rescaling"), "normalization"),
    **dict.fromkeys(("Flatten", "Reshape"), "shapes"),
    **{"Conv2D": "convolutions", "Dense": "dense", "GetItem": "operations", "ReLU": "activations"},
    **{"GlobalAveragePooling2D": "pooling", "MaxPooling2D": "pooling"},
}


@cache
def table() -> str:
    """The README's table of layers."""
    rows = ["| kind | layers |", "| --- | --- |"]
    for name, kind in KINDS.items():
        layer_types = {call.kind for call in flatten(build(kind)).calls}
        if kind is models:
            listed = "models in models, layers that are called several times"
        else:
            listed = ", ".join(sorted(x for x in layer_types if _ROWS.get(x, name) == name))
        names = f": {', '.join(ACTIVATIONS)}" if "Activation" in layer_types else ""
        rows.append(f"| {name} | {listed}{names} |")
    return "\n".join([*rows, f"| refused | {', '.join(REFUSED)} |"])
