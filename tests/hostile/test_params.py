"""Parameter files, as `validate` reads them."""

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages import validate
from tests.hostile.harness import MARKER, Case, params, refuse, table

FILE = r"\S+/params\.yaml"
NO_YAML = FILE + r" must be YAML, got: {}\."
ENVELOPE = r" has {}:(\n  - .+\.)+"


def text(name: str, content: str | bytes, message: str) -> Case:
    raw = content if isinstance(content, bytes) else content.encode()
    return Case(name, lambda path: path.write_bytes(raw), message)


def no_yaml(name: str, content: str | bytes, found: str) -> Case:
    return text(name, content, NO_YAML.format(found))


def value(name: str, fault: str, **changes: Any) -> Case:
    """Right parameters but for one."""
    content = yaml.safe_dump(params(**changes), sort_keys=False, allow_unicode=True)
    return text(name, content, rf"{FILE} has 1 fault:\n  - {fault}")


def lines(name: str, addition: str, fault: str) -> Case:
    """Right parameters and further lines."""
    return text(name, yaml.safe_dump(params()) + addition, fault)


def written(name: str, yaml_value: str, fault: str, *, count: str = "1 fault") -> Case:
    """Right parameters, but `candidate` as it is written here."""
    content = yaml.safe_dump(params(candidate="HERE")).replace("HERE", yaml_value)
    return text(name, content, rf"{FILE} has {count}:\n  - {fault}")


def bomb(levels: int, body: str = "[{}]") -> str:
    """Nine references to what has nine references, and so on."""
    first = "x0: &x0 [lol]\n" if body == "[{}]" else "x0: &x0 {lol: 1}\n"
    return first + "".join(
        f"x{n + 1}: &x{n + 1} {body.format(', '.join([f'*x{n}'] * 9))}\n" for n in range(levels)
    )


CANDIDATE = r"candidate must be the name of a variant, got {}\."
PAYLOADS = {
    "an object": "!!python/object/apply:os.system ['touch {}']",
    "a new object": "!!python/object/new:os.system ['touch {}']",
    "a module": "!!python/module:os",
    "a name": "!!python/name:os.system",
    "a tuple": "!!python/tuple [1]",
}
MODEL = r"fetch\.model must be mlperf_tiny, sample, or the path or .+ file, got {}\."


@table(
    # Code.
    *(
        Case(
            f"a tag that asks for {what}",
            lambda path, tag=tag: path.write_text(f"a: {tag.format(path.parent / MARKER)}"),
            NO_YAML.format(r"could not determine a constructor for the tag 'tag:yaml.+"),
        )
        for what, tag in PAYLOADS.items()
    ),
    # Few bytes, much memory or time.
    lines("references that multiply", bomb(20), FILE + ENVELOPE.format("21 faults")),
    no_yaml(
        "merges that multiply", bomb(9, "{{<<: [{}]}}"), r"a merge key \(<<\).+line 2, column 10.*"
    ),
    no_yaml("lists nested 9,000 deep", "- " * 9_000, "maximum recursion depth exceeded.*"),
    no_yaml("mappings nested 9,000 deep", "{a: " * 9_000, "maximum recursion depth exceeded.*"),
    text(
        "100 kB",
        "#" * 100_000,
        FILE + r" must be a file of at most 65536 bytes, got 100000 bytes\.",
    ),
    lines(
        "the list in itself", "x: &x [*x]\n", rf"{FILE} has 1 fault:\n  - x is not a parameter\..+"
    ),
    no_yaml("an integer of 5,000 digits", "a: " + "1" * 5000, "Exceeds the limit .4300 digits.+"),
    no_yaml("base 60 beyond a float", "a: " + "1:" * 3000 + "1.5", ".+too large.+"),
    # What is no plain YAML.
    no_yaml(
        "a key twice", "fetch: 1\nfetch: 2\n", "the key 'fetch' for the second time.+line 2, col.+"
    ),
    no_yaml(
        "a key twice within a section",
        yaml.safe_dump(params()).replace("  seed:", "  size: 10\n  seed:"),
        "the key 'size' for the second time.+column 3.*",
    ),
    no_yaml("one and true as keys", "1: a\ntrue: b\n", "the key True for the second time.+"),
    no_yaml("a zero byte", b"fetch: \x00", "unacceptable character #x0000.+"),
    no_yaml("UTF-16", "fetch: 1\n".encode("utf-16"), ".+utf-8.+ can't decode byte 0xff.+"),
    no_yaml("Latin-1", "fetch: é\n".encode("latin-1"), ".+utf-8.+ can't decode byte 0xe9.+"),
    no_yaml("a terminal's commands", b"a: \x1b[2J", "unacceptable character #x001b.+"),
    no_yaml("a web page", "<!DOCTYPE html>\n<a: b: c>", "mapping values are not allowed.+"),
    no_yaml("a tab", "fetch:\n\tdataset: x\n", ".+cannot start any token.+"),
    no_yaml("two documents", "a: 1\n---\nb: 2\n", "expected a single document.+"),
    no_yaml("a date that does not exist", "a: 2020-13-45", "month must be in 1..12"),
    no_yaml("a time zone of 99 hours", "a: 2020-01-01 00:00:00 +99:00", "offset must be .+"),
    no_yaml("binary that is none", "a: !!binary 'x'", "failed to decode base64.+"),
    no_yaml("a reference to nothing", "a: *b", "found undefined alias 'b'.+"),
    no_yaml("a list as a key", "? [a]\n: b\n", ".+unhashable key.+"),
    no_yaml(
        "a tag of 10,000 letters", f"a: !{'x' * 10_000} b", "could not determine a constructor.+"
    ),
    # What is no mapping of sections.
    text("empty", "", rf"{FILE} has 1 fault:\n  - the top level must be a mapping .+, got None\."),
    text(
        "a list",
        "- fetch\n",
        rf"{FILE} has 1 fault:\n  - the top level must be .+, got \['fetch'\]\.",
    ),
    text("an empty mapping", "{}", FILE + ENVELOPE.format(r"\d+ faults")),
    lines(
        "an unknown section", "gates: {}\n", rf"{FILE} has 1 fault:\n  - gates is not a parameter.+"
    ),
    lines(
        "a key of 9,000 letters",
        f"? {'x' * 9_000}\n: 1\n",
        rf"{FILE} has 1 fault:\n  - 'x+\.\.\.x+' is .+",
    ),
    lines(
        "a key of two lines",
        '"a\\nb": 1\n',
        rf"{FILE} has 1 fault:\n  - 'a\\nb' is not a parameter\..+",
    ),
    # Values of every wrong kind.
    written("a date", "2020-01-01", CANDIDATE.format(r"datetime\.date\(2020, 1, 1\)")),
    written("a set", "!!set {a, b}", CANDIDATE.format(r".*'a'.*")),
    written("an ordered mapping", "!!omap [a: 1]", CANDIDATE.format(r"\[\('a', 1\)\]")),
    written(
        "binary",
        f"!!binary {base64.b64encode(b'keras_fp32').decode()}",
        CANDIDATE.format("b'keras_fp32'"),
    ),
    written("null", "~", CANDIDATE.format("None")),
    written("a mapping", "{a: b}", CANDIDATE.format(r"\{'a': 'b'\}")),
    written(
        "no variant", "keras_fp16", r"candidate must be one of keras_fp32, .+, got 'keras_fp16'\."
    ),
    written("half a surrogate", '"\\ud800"', r"candidate must be .+, got '\\ud800'\."),
    value(
        "not a number",
        r"calibrate\.size must be a number .+, got nan\.",
        calibrate__size=float("nan"),
    ),
    value("infinity", r"calibrate\.size must be .+, got inf\.", calibrate__size=float("inf")),
    value("a fraction", r"calibrate\.size must be .+, got 1\.5\.", calibrate__size=1.5),
    value("text for a number", r"calibrate\.size must be .+, got '9'\.", calibrate__size="9"),
    value("true for a number", r"calibrate\.size must be .+, got True\.", calibrate__size=True),
    value("below zero", r"calibrate\.seed must be .+, got -1\.", calibrate__seed=-1),
    value("beyond 32 bits", r"calibrate\.seed must be .+, got 4294967296\.", calibrate__seed=2**32),
    value(
        "a batch twice", r"calibrate\.batches must be .+, got \[1, 1\]\.", calibrate__batches=[1, 1]
    ),
    value("no batch", r"calibrate\.batches must be .+, got \[\]\.", calibrate__batches=[]),
    value("a sixth batch", r"calibrate\.batches\[0\] must be .+, got 6\.", calibrate__batches=[6]),
    value(
        "1 for true",
        r"fit\.per_channel must be true or false, got 1\.",
        fit__per_channel=1,
    ),
    value(
        "a percentile of nothing",
        r"fit\.percentile must be .+, got nan\.",
        fit__percentile=float("nan"),
    ),
    value(
        "bins beyond memory",
        r"fit\.histogram_bins must be a number from 128 to 65536, got 1000000000000\.",
        fit__histogram_bins=10**12,
    ),
    value(
        "a layer of another type",
        r"fit\.float_layers\[0\] must be .+, got \{'a': 1\}\.",
        fit__float_layers=[{"a": 1}],
    ),
    value(
        "the parameter's old place",
        r"quantize_onnx\.per_channel is not a parameter\. Known: types\.",
        quantize_onnx__per_channel=True,
    ),
    value(
        "an unknown type",
        r"quantize_onnx\.types\[0\] must be .+, got 'int4'\..*",
        quantize_onnx__types=["int4"],
    ),
    value(
        "an input of another form",
        r"inspect\.input must be .+, got 'test:-1'\.",
        inspect__input="test:-1",
    ),
    value("a model that is a pickle", MODEL.format(r"'x\.pkl'"), fetch__model="x.pkl"),
    value("a model at a file URL", r"fetch\.model .+", fetch__model="file:///etc/passwd"),
    value("a model with a zero byte", MODEL.format(r"'a\\x00\.h5'"), fetch__model="a\0.h5"),
    value("a model of two lines", MODEL.format(r"'a\\nb\.h5'"), fetch__model="a\nb.h5"),
    value(
        "a URL without a checksum",
        r"fetch\.model_sha256 must be the SHA-256 of the file behind http://host/m\.h5, got null\.",
        fetch__model="http://host/m.h5",
    ),
    value(
        "half a checksum",
        r"fetch\.model_sha256 must be null or a SHA-256 .+",
        fetch__model_sha256="ab" * 16,
    ),
    text(
        "a model that is not there",
        yaml.safe_dump(params(fetch__model="none/m.h5")),
        rf"fetch\.model must be .+, got 'none/m\.h5', where no file is \({FILE}\)\.",
    ),
    # What is no file.
    Case(
        "a folder",
        Path.mkdir,
        FILE + r" must be a file of at most 65536 bytes, got something else\.",
    ),
    Case(
        "a pipe", os.mkfifo, FILE + r" must be a file of at most 65536 bytes, got something else\."
    ),
    Case(
        "a link to itself", lambda path: path.symlink_to(path), r".*(must exist|symbolic links).+"
    ),
    Case(
        "nothing",
        lambda path: None,
        FILE + r" must exist\. Run the command in the project's folder\.",
    ),
)
def test_validate_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case) -> None:
    folder = tmp_path / "project"
    for name in ("linked", "metrics", "models", "predictions"):
        (folder / name).mkdir(parents=True)
    stale = folder / "metrics" / "onnx_uint8_int8.json"
    stale.write_text("{}")  # would be removed, were the parameters right
    case.write(folder / "params.yaml")
    paths: dict[str, object] = {
        name: folder / name for name in ("linked", "metrics", "models", "predictions")
    }
    arguments = {"params": folder / "params.yaml", "out": folder / "schema.json", **paths}
    refuse(validate.main, arguments, capfd, folder=folder, message=case.message)
    assert not (folder / MARKER).exists()


def test_yaml_itself_runs_the_payload(tmp_path: Path) -> None:
    load: Callable[[str], object] = yaml.unsafe_load
    load(PAYLOADS["an object"].format(tmp_path / "ran"))
    assert (tmp_path / "ran").exists()
