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
_WORDS = {
    "test": "test image",
    "calibration": "calibration batch",
    "random": "random pixels with seed",
}


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
        plural = "s" if len(self.numbers) > 1 else ""
        return f"{_WORDS[self.source]}{plural} {', '.join(map(str, self.numbers))}"

    def find_fault(self, *, n_test: int, n_calibration: int) -> str | None:
        """Returns a message if the largest number is out of range, else None."""
        counts = {"test": n_test, "calibration": -(-n_calibration // BATCH_SIZE)}  # rounded up
        count, largest = counts.get(self.source), max(self.numbers)
        if count is None or largest < count:
            return None
        return f"{self.source} numbers must be from 0 to {count - 1}, got {largest}."
