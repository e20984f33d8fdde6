"""Writes the sample in CIFAR-10's batch format and names its model."""

from collections.abc import Sequence
from pathlib import Path

from resnet8.core.batches import encode_batch, encode_label_names
from resnet8.core.files import write_bytes
from resnet8.core.names import IMAGES_PER_BATCH
from samples.shapes import LABEL_NAMES, TEST_BATCH, draw_batch

SAMPLE_MODEL = Path(__file__).with_name("resnet8_shapes.h5")


def write_sample(members: Sequence[str], folder: Path) -> None:
    """Draws members of the sample, named like CIFAR-10's, into `folder`.

    Args:
        members: out of `batches.meta`, `test_batch` and `data_batch_N`.
        folder: where they go.
    """
    size = IMAGES_PER_BATCH["sample"]
    for member in members:
        if member == "batches.meta":
            content = encode_label_names(list(LABEL_NAMES), images_per_batch=size)
        else:
            number = TEST_BATCH if member == "test_batch" else int(member.rpartition("_")[2])
            images, labels = draw_batch(number, size=size)
            content = encode_batch(images, labels, name=member)
        write_bytes(folder / member, content)
