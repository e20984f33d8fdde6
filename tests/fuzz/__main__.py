"""Fuzzes a reader for a while and says how often it ran.

    python -m tests.fuzz --target batches --seconds 60

Exits with 1 when anything but the reader's own error came out, when code ran, or when an input
took more than a gigabyte or ten seconds; the input is saved. Needs requirements-fuzz.txt.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

NAMES = ("batches", "params")
MAX_MEGABYTES = 1024
MAX_SECONDS = 10
MAX_INPUT_BYTES = 16_384
# Events of Python's own audit that no reader has a reason for.
FORBIDDEN = ("os.", "subprocess.", "socket.", "shutil.", "pty.", "ctypes.", "code.__new__")
HARMLESS = ("os.listdir", "os.scandir", "os.remove", "os.fwalk", "os.walk")


class CodeRan(BaseException):
    """An input made the reader do what no input may."""


def fuzz(name: str, corpus: Path, options: list[str]) -> None:
    """Runs libFuzzer in this process, which ends with it."""
    import atheris  # noqa: PLC0415

    with atheris.instrument_imports(include=["resnet8", "yaml", "pickle"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415

    run, seeds = TARGETS[name]
    for number, seed in enumerate(seeds):
        (corpus / f"seed{number}").write_bytes(seed)

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        if event.startswith(FORBIDDEN) and event not in HARMLESS:
            raise CodeRan(event, arguments)

    sys.addaudithook(refuse)
    atheris.Setup([sys.argv[0], *options, str(corpus)], run)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", choices=NAMES, required=True)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--found", type=Path, default=Path("build/fuzz"), help="where finds go")
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)  # set by the parent
    args, options = parser.parse_known_args()
    if args.corpus:
        fuzz(args.target, args.corpus, options)
        return

    args.found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        command = [sys.executable, "-m", "tests.fuzz", "--target", args.target, "--corpus", corpus]
        command += [f"-max_total_time={args.seconds}", f"-max_len={MAX_INPUT_BYTES}"]
        command += [f"-rss_limit_mb={MAX_MEGABYTES}", f"-timeout={MAX_SECONDS}"]
        command += ["-print_final_stats=1", f"-artifact_prefix={args.found}/{args.target}-"]
        done = subprocess.run(command, capture_output=True, check=False)
    log = done.stderr.decode(errors="replace") + done.stdout.decode(errors="replace")
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", log))
    if done.returncode or "number_of_executed_units" not in stats:
        print(log[-4000:], file=sys.stderr)
        sys.exit(f"{args.target}: failed; an input that does it is in {args.found}")
    print(
        f"{args.target}: {stats['number_of_executed_units']} executions in {args.seconds} s, "
        f"{stats['average_exec_per_sec']} per second, at most {stats['peak_rss_mb']} MB; no find"
    )


if __name__ == "__main__":
    main()
