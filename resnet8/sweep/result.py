"""What a run of a sweep gives."""

from typing import NamedTuple


class Result(NamedTuple):
    """What a quantized model costs against the baseline; see `comparison.compare`.

    saturating_products: whether 8-bit products saturate on the CPU that ran it.
    file_bytes: size of the model's file.
    lost: test images, by index, that only the baseline gets right.
    won: those that only the quantized model does.
    other: those with another class from each, both wrong.
    """

    n_images: int
    top1_accuracy: float
    accuracy_delta_pp: float
    ci95_low_pp: float
    ci95_high_pp: float
    mcnemar_p: float
    agreement: float
    kl_divergence: float
    saturating_products: bool
    file_bytes: int
    lost: list[int]
    won: list[int]
    other: list[int]
