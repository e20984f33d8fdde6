"""Shows one line per stage of a `dvc repro`, from the log of DVC."""

import re
import shutil
import time
from collections.abc import Callable, Mapping
from typing import TextIO

# For the sample, on two cores. All other stages take about `OTHERS_SECONDS`.
TYPICAL_SECONDS = {
    "convert_onnx": 13,
    "convert_torch": 11,
    "fit": 14,
    "quantize_torch@int8": 11,
    "evaluate@keras_fp32": 9,
    "evaluate@torch_fp32": 7,
    "evaluate_torch@int8": 9,
    "inspect_layers": 40,
    "plots": 18,
    "report": 5,
}
OTHERS_SECONDS = 2
PRIOR_SECONDS = 20  # weight of the typical durations in the estimate of the remaining time
WIDTH = 120  # columns, unless the output is a terminal
REASON_LINES = 15
OUTCOMES = {"didn't change": "unchanged", "is cached": "from DVC's cache"}
_EVENT = re.compile(r"(?:Running stage|Stage) '([^']+)'(?:: *$| (didn't change|is cached))")


class Steps:
    """Prints finished stages and an estimate of the remaining time.

    On a terminal, a last line shows the running stage.

    Args:
        stages: descriptions by name.
        out: stream to print to.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        stages: Mapping[str, str],
        out: TextIO,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stages, self._out, self._clock = stages, out, clock
        self._waiting = {name: TYPICAL_SECONDS.get(name, OTHERS_SECONDS) for name in stages}
        self._number = 0
        self._running: str | None = None
        self._began = self._spent = self._expected = 0.0  # seconds; the last two of finished stages

    def read(self, line: str) -> None:
        """Processes a line of DVC's output."""
        if not (event := _EVENT.match(line)):
            return
        self.finish()
        name, outcome = event.groups()
        self._number += 1
        if outcome:
            self._waiting.pop(name, None)
            self._print(name, OUTCOMES[outcome])
        else:
            self._running, self._began = name, self._clock()

    def show(self) -> None:
        """Updates the line of the running stage, on a terminal."""
        if self._running and self._out.isatty():
            self._print(self._running, f"{self._elapsed():5.0f} s{self._left()}", end="")

    def finish(self, outcome: str = "") -> None:
        """Ends the running stage, and prints its line with its duration or the outcome."""
        if not self._running:
            return
        name, seconds, self._running = self._running, self._elapsed(), None
        self._spent += seconds
        self._expected += self._waiting.pop(name, 0.0)
        left = "" if self._out.isatty() else self._left()
        self._print(name, outcome or f"{seconds:5.1f} s{left}")

    def _elapsed(self) -> float:
        return self._clock() - self._began

    def _left(self) -> str:
        """Remaining time: typical durations, scaled by the pace of the finished stages."""
        pace = (PRIOR_SECONDS + self._spent) / (PRIOR_SECONDS + self._expected)
        left = pace * sum(self._waiting.values())
        if self._running:
            left -= min(self._elapsed(), pace * self._waiting.get(self._running, 0.0))
        return f", about {5 * max(1, round(left / 5)):3} s left" if self._waiting else ""

    def _print(self, name: str, right: str, *, end: str = "\n") -> None:
        width = shutil.get_terminal_size((WIDTH, 0)).columns - 1
        longest = max(map(len, self._stages), default=0)
        left = f"{self._number:2}/{len(self._stages)}  {name:{longest}}  "
        room = max(width - len(left) - len(right) - 2, 0)
        desc = self._stages.get(name, "")
        desc = desc if len(desc) <= room else f"{desc[: max(room - 2, 0)]} …"
        start = "\r\033[K" if self._out.isatty() else ""
        print(f"{start}{left}{desc:{room}}  {right}", end=end, file=self._out, flush=True)


def find_reason(log: str) -> str:
    """Returns the error message of the stage that failed, or the last lines of the log."""
    last = log[max(log.rfind("Running stage '"), 0) :]
    if message := re.search(r"^error: (.*?)\s*(?=^ERROR: |\Z)", last, re.MULTILINE | re.DOTALL):
        return message[1]
    return "\n".join(log.splitlines()[-REASON_LINES:])
