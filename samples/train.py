"""Trains the sample's model: `python -m samples.train` (about 15 minutes on two cores).

Writes samples/resnet8_shapes.h5. The architecture is that of MLPerf Tiny's image
classification reference; see `build_resnet8`.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers

from resnet8.core.names import IMAGES_PER_BATCH
from samples.dataset import SAMPLE_MODEL
from samples.shapes import LABEL_NAMES, TEST_BATCH, draw_batch


def _convolve(x: keras.KerasTensor, filters: int, kernel: int, stride: int) -> keras.KerasTensor:
    return layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding="same",
        kernel_initializer="he_normal",
        kernel_regularizer=keras.regularizers.L2(1e-4),
    )(x)


def _normalize(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.BatchNormalization()(x)


def _residual_block(x: keras.KerasTensor, filters: int, stride: int) -> keras.KerasTensor:
    y = layers.Activation("relu")(_normalize(_convolve(x, filters, 3, stride)))
    y = _normalize(_convolve(y, filters, 3, 1))
    if stride > 1:
        x = _convolve(x, filters, 1, stride)
    return layers.Activation("relu")(layers.Add()([x, y]))


def build_resnet8(width: int = 16, *, name: str = "resnet8") -> keras.Model:
    """Builds ResNet8: a stem and three residual blocks of `width`, 2x and 4x filters.

    Args:
        width: filters of the first block; 16 gives the reference's 78,666 parameters.
        name: the model's name.

    Returns:
        An untrained model, (N, 32, 32, 3) pixels in [0, 255] to (N, 10) probabilities.

    Source: MLPerf Tiny v1.0, image classification, `resnet_v1_eembc` in
    benchmark/training/image_classification/keras_model.py (github.com/mlcommons/tiny).
    """
    inputs = keras.Input((32, 32, 3))  # (N, H, W, C)
    x = layers.Activation("relu")(_normalize(_convolve(inputs, width, 3, 1)))
    for filters, stride in ((width, 1), (2 * width, 2), (4 * width, 2)):
        x = _residual_block(x, filters, stride)
    x = layers.Flatten()(layers.AveragePooling2D(8)(x))  # (N, 4 * width)
    outputs = layers.Dense(10, activation="softmax", kernel_initializer="he_normal")(x)
    return keras.Model(inputs, outputs, name=name)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batches", type=int, default=20, help="the sample's own 5 and more")
    parser.add_argument("--out", type=Path, default=SAMPLE_MODEL)
    arguments = parser.parse_args(argv)

    keras.utils.set_random_seed(0)
    size = IMAGES_PER_BATCH["sample"]
    batches = [draw_batch(number, size=size) for number in range(1, arguments.batches + 1)]
    images = np.concatenate([batch[0] for batch in batches]).astype(np.float32)
    labels = np.concatenate([batch[1] for batch in batches])
    test_images, test_labels = draw_batch(TEST_BATCH, size=size)

    model = build_resnet8(name="resnet8_shapes")
    batch_size = 64
    schedule = keras.optimizers.schedules.CosineDecay(
        2e-3, arguments.epochs * len(images) // batch_size
    )
    model.compile(
        keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(images, labels, batch_size=batch_size, epochs=arguments.epochs, verbose=2)

    loss, accuracy = model.evaluate(
        test_images.astype(np.float32), np.array(test_labels), verbose=0
    )
    print(f"{len(LABEL_NAMES)} classes, test loss {loss:.4f}, top-1 accuracy {accuracy:.4f}")
    model.save(arguments.out, include_optimizer=False)


if __name__ == "__main__":
    main()
