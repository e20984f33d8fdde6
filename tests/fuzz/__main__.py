"""Fuzzes a reader for a while.

    python -m tests.fuzz --target batches --seconds 60

Stops when anything but the reader's own error came out, when code ran, or when an input took more
than a gigabyte or ten seconds; the input is saved. Needs requirements-fuzz.txt.
"""

import argparse
import sys
from pathlib import Path

NAMES = ("batches", "params")
LIMITS = ["-rss_limit_mb=1024", "-timeout=10", "-max_len=16384"]  # seconds, bytes of an input
# Python's audit events that no reader may cause.
FORBIDDEN = ("os.", "subprocess.", "socket.", "shutil.", "pty.", "ctypes.", "code.__new__")
HARMLESS = ("os.listdir", "os.scandir", "os.remove", "os.fwalk", "os.walk")


class CodeRan(BaseException):
    """An input made the reader cause a forbidden event."""


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event.startswith(FORBIDDEN) and event not in HARMLESS:
        raise CodeRan(event, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", choices=NAMES, required=True)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument(
        "--out", type=Path, default=Path("build/fuzz"), help="folder for inputs that fail"
    )
    args = parser.parse_args()

    import atheris  # noqa: PLC0415

    with atheris.instrument_imports(include=["resnet8", "yaml", "pickle"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415

    run, seeds = TARGETS[args.target]
    corpus = args.out / f"{args.target}-corpus"  # grows with each run
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed{number}").write_bytes(seed)
    options = [f"-max_total_time={args.seconds}", f"-artifact_prefix={args.out}/{args.target}-"]
    sys.addaudithook(refuse)
    atheris.Setup([sys.argv[0], *LIMITS, *options, "-print_final_stats=1", str(corpus)], run)
    atheris.Fuzz()  # ends the process, with an exit code that is not 0 after a find


if __name__ == "__main__":
    main()
