"""The specification of the images that an inspection looks at.

`test:0`, `test:3,5` (test images by index), `calibration:0` (a batch of the calibration images
by number) or `random:7` (noise drawn with that seed).
"""

import re
from typing import NamedTuple

BATCH_SIZE = 50  # calibration images in a batch
_NUMBER = "[0-9]{1,9}"
PATTERN = f"^(test:{_NUMBER}(,{_NUMBER})*|calibration:{_NUMBER}|random:{_NUMBER})$"
FORMS = "test:<index>[,<index>...], calibration:<batch number> or random:<seed>"


class InputSpec(NamedTuple):
    """The images that an inspection looks at.

    source: `test`, `calibration` or `random`.
    numbers: image indices, or one batch number, or one seed.
    """

    source: str
    numbers: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> "InputSpec":
        """Parses a specification.

        Raises:
            ValueError: it is malformed.
        """
        if not re.fullmatch(PATTERN, text):
            raise ValueError(f"the input must be {FORMS}, got {text!r}.")
        source, _, numbers = text.partition(":")
        return cls(source, tuple(int(number) for number in numbers.split(",")))

    @property
    def in_words(self) -> str:
        """Describes the images for people."""
        numbers = ", ".join(str(number) for number in self.numbers)
        if self.source == "test":
            return f"test image{'s' if len(self.numbers) > 1 else ''} {numbers}"
        words = {"calibration": "calibration batch", "random": "random pixels with seed"}
        return f"{words[self.source]} {numbers}"

    def find_fault(self, *, n_test: int, n_calibration: int) -> str | None:
        """Describes the first number that is out of range; None if all are in range.

        Args:
            n_test: number of test images.
            n_calibration: number of calibration images.
        """
        if self.source == "random":
            return None
        count = n_test if self.source == "test" else -(-n_calibration // BATCH_SIZE)
        return next(
            (
                f"{self.source} numbers must be from 0 to {count - 1}, got {number}."
                for number in self.numbers
                if number >= count
            ),
            None,
        )
