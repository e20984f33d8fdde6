"""The result of a run of a sweep, and the validation of one that was read from a file."""

from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field, TypeAdapter

from resnet8.compare.comparison import compare_correct

MAX_IMAGES = 10_000  # of CIFAR-10's test set
MAX_DIVERGENCE = 17.0  # nats; probabilities count as at least 1e-7
_Fraction = Annotated[float, Field(ge=0, le=1)]
_Points = Annotated[float, Field(ge=-100, le=100)]
_Images = list[Annotated[int, Field(ge=0, lt=MAX_IMAGES)]]


class Result(NamedTuple):
    """Comparison of a quantized model with the baseline; see `comparison.compare`."""

    n_images: Annotated[int, Field(ge=1, le=MAX_IMAGES)]
    top1_accuracy: _Fraction
    accuracy_delta_pp: _Points
    ci95_low_pp: _Points
    ci95_high_pp: _Points
    mcnemar_p: _Fraction
    agreement: _Fraction
    kl_divergence: Annotated[float, Field(ge=0, le=MAX_DIVERGENCE)]
    saturating_products: bool  # True if 8-bit products saturate on the CPU that ran it
    file_bytes: Annotated[int, Field(ge=1, le=2**40)]  # size of the model's file
    lost: _Images  # indices of the test images that only the baseline gets right
    won: _Images  # indices of those that only the quantized model gets right
    other: _Images  # indices of those that both get wrong, with different classes

    @property
    def baseline_right(self) -> int:
        """Number of images that the baseline gets right."""
        return round(self.top1_accuracy * self.n_images) + len(self.lost) - len(self.won)


_RESULT = TypeAdapter(Result, config={"strict": True, "allow_inf_nan": False})


def check_result(values: dict[str, Any]) -> Result:
    """Checks types and ranges of a result, and that its figures do not contradict each other.

    Args:
        values: by the names of `Result`.

    Raises:
        ValueError: figures contradict each other; `pydantic.ValidationError`: one is impossible.
    """
    result = _RESULT.validate_python(values)
    n, changed = result.n_images, [*result.lost, *result.won, *result.other]
    if len({*changed}) < len(changed) or max(changed, default=0) >= n:
        raise ValueError("lost, won and other must be different images of the test set")
    both = result.baseline_right - len(result.lost)
    if not 0 <= both <= n - len(changed):
        raise ValueError("top1_accuracy must fit lost, won and other")
    # Which of the unchanged images are right is not recorded, and makes no difference.
    old, new = np.zeros((2, n), bool)
    old[result.lost] = new[result.won] = True
    unchanged = np.setdiff1d(np.arange(n), changed)
    old[unchanged[:both]] = new[unchanged[:both]] = True
    expected = compare_correct({"": old}, {"": new}) | {"agreement": 1 - len(changed) / n}
    for name in Result._fields:
        if name in expected and abs(getattr(result, name) - expected[name]) > 1e-9:
            raise ValueError(f"{name} must be {expected[name]:.6g}, by lost, won and other")
    return result
