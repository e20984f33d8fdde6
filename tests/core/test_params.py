"""Valid parameters, and the messages about invalid ones."""

import copy
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resnet8.core.errors import ParamsError
from resnet8.core.grid import MAX_RUNS
from resnet8.core.names import is_url, source_path
from resnet8.core.param_errors import parse_yaml
from resnet8.core.params import Params, check_params, load_params
from tests.parameters import TEST_PARAMS

SHA256 = "0123456789abcdef" * 4
URL = "https://host.example/model.h5"
MISSING = object()

VALID: dict[str, Any] = yaml.safe_load(TEST_PARAMS.read_text()) | {"sweep": {"grid": []}}
KEYS = [
    f"{name}.{key}" if key else name
    for name, section in VALID.items()
    for key in (section if isinstance(section, dict) else [""])
]


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """Valid parameters but for these, by dotted key; without those that are `MISSING`."""
    raw = copy.deepcopy(VALID)
    for dotted, value in changes.items():
        section, _, key = dotted.rpartition(".")
        parent = raw[section] if section else raw
        parent[key] = value
        if value is MISSING:
            del parent[key]
    return raw


def faults(raw: object) -> list[str]:
    """The faults that check_params reports."""
    with pytest.raises(ParamsError, match=r"^params\.yaml has \d+ faults?:\n  - ") as error:
        check_params(raw)
    return str(error.value).split("\n  - ")[1:]


def fault(changes: dict[str, Any]) -> str:
    (line,) = faults(changed(changes))
    return line


ACCEPTED: list[dict[str, Any]] = [
    {"calibrate.size": 50_000, "calibrate.batches": [5, 4, 3, 2, 1]},
    {"calibrate.seed": 2**32 - 1, "convert_onnx.opset": 13, "fit.equalization": 0},
    {"convert_onnx.opset": 18, "evaluate.batch_size": 10_000, "fit.equalization": 1.0},
    {"fit.activation_range": "percentile", "fit.percentile": 100},
    {"fit.percentile": 50.1, "fit.gptq_damping": 1e-9, "calibrate.size": 1},
    {"fit.activation_range": "entropy", "fit.histogram_bins": 128, "fit.entropy_levels": 2},
    {"fit.histogram_bins": 65_536, "fit.entropy_levels": 256, "compare.baseline": "torch_int8"},
    {"fit.per_channel": False, "fit.weight_symmetric": False, "fit.float_layers": ["a", "b"]},
    {"quantize_onnx.types": [], "quantize_torch.types": []},
    {"quantize_onnx.types": ["uint8_int8"], "candidate": "onnx_uint8_int8"},
    {"fetch.model": "some/folder/model.keras", "inspect.input": "test:9999"},
    {"fetch.model": "/model.h5", "fetch.model_sha256": SHA256, "inspect.input": "test:0,5"},
    {"fetch.model": f"{URL}?a=1", "fetch.model_sha256": SHA256, "inspect.input": "random:1"},
    {"fetch.dataset": "sample", "fetch.model": "sample", "calibrate.size": 2000},
    {"inspect.input": "calibration:19"},
]


@pytest.mark.parametrize("changes", ACCEPTED, ids=lambda x: next(iter(x)))
def test_check_params_accepts_all_within_the_documented_ranges(changes: dict[str, Any]) -> None:
    assert check_params(changed(changes)).model_dump() == changed(changes)


def test_params_variants_are_in_the_order_of_the_stages() -> None:
    params = check_params(changed({"quantize_onnx.types": ["uint8_int8", "int8"]}))
    floats = ("keras_fp32", "onnx_fp32", "torch_fp32")
    quantized = ("onnx_uint8_int8", "onnx_int8", "torch_int8")
    assert params.variants == floats + quantized
    assert params.quantized == quantized


# One invalid value: the key, the expectation, and values that do not meet it.
NAN = float("nan")
EXPECTED: dict[str, tuple[str, list[Any]]] = {
    "fetch.model": (
        "mlperf_tiny, sample, or the path or http(s) URL of a .h5 or .keras file",
        ["resnet8", "m.onnx", "x.pkl", "http://host/", "file:///etc/passwd", "", ".h5", None,
         "http://[::1/m.h5", "a\0.h5", "a\nb.h5"],
    ),
    "fetch.model_sha256": (
        "null or a SHA-256 of 64 lower-case hexadecimal digits",
        ["", "ab" * 8, "ab\n", 5],
    ),
    "calibrate.size": ("a number from 1 to 50000", [0, 60_000, "9", 9.0, None, [1], True, NAN]),
    "calibrate.seed": ("a whole number from 0 to 4294967295", [-1, 2**32, 0.5, "0", None, True]),
    "calibrate.batches": (
        "a list of different batch numbers from 1 to 5, at least one", [[], [1, 1], 1, None],
    ),
    "convert_onnx.opset": ("an ONNX operator set from 13 to 18", [12, 19, "17", 17.0]),
    "evaluate.batch_size": ("a number of images from 1 to 10000", [0, 10_001, "all", True]),
    "fit.per_channel": ("true or false", ["yes", 1, 0, None]),
    "fit.percentile": ("a percentage above 50, up to 100", [50, 100.1, "99", None, True, NAN]),
    "fit.histogram_bins": ("a number from 128 to 65536", [127, 10**12, 256.5, "256"]),
    "fit.entropy_levels": ("a number from 2 to 256", [1, 257, 2.5]),
    "fit.equalization": ("a strength from 0 to 1", [-0.1, 1.01, "1", NAN]),
    "fit.gptq_damping": ("a share above 0, up to 1", [0, 1.1, True]),
    "fit.float_layers": ("a list of different names of layers", [None, "dense", ["a", "a"]]),
    "quantize_onnx.types": (
        "a list of different types out of int8, uint8, uint8_int8", [["int8", "int8"], "int8"],
    ),
    "inspect.input": (
        "test:<index>[,<index>...], calibration:<batch number> or random:<seed>",
        ["0", "test", "test:-1", "train:0", "test:1 2", "random:"],
    ),
    "compare.baseline": ("the name of a variant", [5]),
    "candidate": ("the name of a variant", [5, None]),
    "calibrate": ("a section", [None, [], "1000", 5]),
}  # fmt: skip


@pytest.mark.parametrize("key", EXPECTED)
def test_check_params_names_key_expectation_and_value(key: str) -> None:
    expected, values = EXPECTED[key]
    for value in values:
        assert fault({key: value}) == f"{key} must be {expected}, got {value!r}."


# Changes, and a regular expression for the beginning of the message, or for all of it.
DESCRIBED: list[tuple[dict[str, Any], str]] = [
    ({"calibrate.batches": [1, 6]}, r"calibrate.batches\[1\] must be .+ least one, got 6\.$"),
    ({"quantize_onnx.types": ["int8", "uint_8"]}, r".*types\[1\] must .+ Did you mean uint8\?$"),
    ({"quantize_onnx.types": ["fp16"]}, r".*types\[0\] must be int8, uint8 or .+, got 'fp16'\.$"),
    ({"fetch.dataset": "cifar-10"}, r".+ cifar10 or sample, got 'cifar-10'. Did you mean cifar10"),
    ({"fit.weight_rounding": "gtpq"}, r".+ nearest or gptq, got 'gtpq'\. Did you mean gptq\?$"),
    ({"calibrate.sizes": 1}, r"calibrate\.sizes is not a parameter\. Did you mean size\?$"),
    ({"calibrat": 1}, r"calibrat is not a parameter\. Did you mean calibrate\?$"),
    ({"calibrate.x": 1}, r"calibrate\.x is not a parameter\. Known: size, seed, batches\.$"),
    ({"evaluate": {"batch_size": 1, 1: 2}}, r"evaluate\[1\] is not a parameter\. Known: batch_"),
    ({"a\nb": 1}, r"'a\\nb' is not a parameter\. Known: fetch, "),
    ({"calibrate.size": 10**5000}, "calibrate.size must be a number from 1 to 50000, got a hu"),
    ({"gate.drop_max_pp": {}}, "gate.drop_max_pp must be a mapping from default and names of "),
    ({"gate.drop_max_pp": {"default": 1.0, "onnx_int9": 1.0}}, "gate.drop_max_pp must be a ma"),
    # Combinations.
    ({"candidate": "onnx_uint8_int8"}, "candidate must be one of keras_fp32, .+, torch_int8, got"),
    ({"compare.baseline": "onnx"}, "compare.baseline must be one of keras_fp32, onnx_fp32, "),
    ({"fetch.model": URL}, f"fetch.model_sha256 must be .+ of the file behind {URL}, got null"),
    ({"fetch.model_sha256": "AB" * 32}, "fetch.model_sha256 must be null or a SHA-256 of 64 "),
    ({"fetch.model": "sample", "fetch.model_sha256": SHA256},
     f"fetch.model_sha256 must be null for sample, whose checksum is built in, got {SHA256}"),
    ({"fetch.dataset": "sample", "calibrate.batches": [1, 2, 3], "calibrate.size": 6001},
     r"calibrate.size must be from 1 to 6000, .+\.batches \[1, 2, 3\] of sample, got 6001\.$"),
    ({"fit.weight_symmetric": False}, "fit.weight_symmetric must be true with fit.per_channel: t"),
    ({"fit.entropy_levels": 200, "fit.histogram_bins": 128},
     r"fit.entropy_levels must be at most fit.histogram_bins, 128, got 200\.$"),
    ({"inspect.input": "test:3,10000"}, ".+: test numbers must be from 0 to 9999, got 10000"),
    ({"inspect.input": "calibration:20"}, ".+: calibration numbers must be from 0 to 19, got 20"),
]  # fmt: skip
# The same for a block of a grid, behind `sweep.grid[1]`.
BLOCKS: list[tuple[dict[str, Any], str]] = [
    ({"calibrate.sizes": [1]}, r"\.calibrate\.sizes is not a .+ Did you mean calibrate\.siz"),
    ({"calibrate.size": []}, r"\.calibrate\.size must be a list of different .+, got \[\]\.$"),
    ({"calibrate.seed": [1, 1]}, r".+ must be a list of different .+, got \[1, 1\]\.$"),
    ({"variant": ["int8"]}, r"\.variant must be out of onnx_int8, .+, got 'int8'\.$"),
    ({"variant": [3]}, r"\.variant must be out of onnx_int8, .+, got 3\.$"),
    ({"calibrate.size": [10, 0]}, ": calibrate.size must be a number from 1 to .+, got 0"),
    ({"calibrate.size": [10_001]}, ": calibrate.size must be from 1 to 10000, .+ got 10001"),
    ({"fit.activation_range": ["mse", "max"]}, ": fit.activation_range must .+ got 'max'"),
    ({"fit.weight_symmetric": [False, True], "fit.per_channel": [True, False]},
     ": fit.weight_symmetric must be true with fit.per_channel: true, got false: "),
]  # fmt: skip
MANY = {x: list(range(1, 1001)) for x in ("calibrate.size", "calibrate.seed")}
GRIDS = [
    ([MANY], rf"sweep\.grid must have at most {MAX_RUNS} runs, got 1000000\.$"),
    *(([{"calibrate.size": [10]}, block], rf"sweep\.grid\[1\]{text}") for block, text in BLOCKS),
    *((x, r"sweep\.grid") for x in (None, 3, {"calibrate.size": [1]}, [3], [{"variant": 3}])),
    ([{3: [1]}], r"sweep\.grid"),
]


@pytest.mark.parametrize(
    ("changes", "expected"), [*DESCRIBED, *(({"sweep.grid": grid}, text) for grid, text in GRIDS)]
)
def test_check_params_describes_a_fault(changes: dict[str, Any], expected: str) -> None:
    assert re.match(expected, fault(changes))


@pytest.mark.parametrize("key", [*KEYS, *(key for key in VALID if key != "candidate")])
def test_check_params_names_a_missing_key(key: str) -> None:
    assert fault({key: MISSING}).startswith(f"{key} is missing; it must be ")


@pytest.mark.parametrize("raw", [None, [VALID], "fetch", 5])
def test_check_params_refuses_a_top_level_that_is_no_mapping(raw: object) -> None:
    (line,) = faults(raw)
    assert line.startswith("the top level must be a mapping of sections, got ")


def test_check_params_reports_all_faults_at_once() -> None:
    assert [line.split()[0] for line in faults({})] == list(Params.model_fields)
    wrong = {"calibrate.size": 0, "candidate": "onnx", "evaluate.batch_size": 0, "evaluate.x": 1}
    wrong["sweep.grid"] = [{"variant": ["x"]}]
    keys = sorted(line.split()[0] for line in faults(changed(wrong)))
    assert keys == [*sorted(wrong)[:-1], "sweep.grid[0].variant"]


# Any content.

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=5)  # surrogates too
    | st.dates()
    | st.binary(max_size=3)
    | st.sampled_from(["cifar10", "sample", "int8", "keras_fp32", URL, "model.h5"])
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150)
@given(key=st.sampled_from([*KEYS, *VALID]), value=ANYTHING)
@example(key="fetch", value={1: 2})
@example(key="fetch.dataset", value=10**5000)
@example(key="calibrate.batches", value=[[1], {}])
def test_check_params_raises_nothing_but_params_errors(key: str, value: object) -> None:
    raw = changed({key: value})
    with suppress(ParamsError):
        assert check_params(raw).model_dump() == raw


def test_check_params_refuses_parameters_that_contain_themselves() -> None:
    raw = copy.deepcopy(VALID)
    raw["calibrate"] = raw
    assert "calibrate.size is missing; it must be a number from 1 to 50000." in faults(raw)


# The file.


def test_load_params_names_the_file_and_a_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    with pytest.raises(ParamsError, match=r"/params\.yaml must exist\. Run the command in the pro"):
        load_params(path)
    path.write_text(yaml.safe_dump(changed({"calibrate.size": 0})))
    with pytest.raises(ParamsError, match=rf"^{path} has 1 fault:\n  - calibrate\.size must be"):
        load_params(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("fetch:\n  dataset: [cifar10\ncalibrate: {}\n", ".*line 3, column.*"),
        ("a: 1\na: 2\n", "the key 'a' for the second time.+line 2, column 1.+"),
        ("a:\n  b: 1\n  b: 2\n", "the key 'b' for the second time.+line 3, column 3.+"),
        ("1: a\ntrue: b\n", "the key True for the second time.+"),
        ("a: &a {x: 1}\nb: {<<: *a}\n", r"a merge key \(<<\) in .+ line 2.*"),
        ("candidate: 2020-13-45", "month must be in 1..12"),
        ("candidate: " + "1" * 5000, "Exceeds the limit.+"),
        ("candidate: !!bool maybe", ".+"),
        ("candidate: !!int ''", ".+"),
        ("a: " + "1:" * 3000 + "1.5", ".+too large.+"),
        ("a: !!binary 'x'", "failed to decode base64.+"),
        ("a: !!python/object/apply:os.getpid []", "could not determine a constructor.+"),
        ("a: *unknown", "found undefined alias.+"),
        ("a: 1\n---\nb: 2\n", "expected a single document.+"),
        ("? [a]\n: b", ".+unhashable key.+"),
        ("- " * 9_000, "maximum recursion depth exceeded.*"),
        ("{a: " * 9_000, "maximum recursion depth exceeded.*"),
        ("a: \x1b[2J", "unacceptable character #x001b.+"),
        (b"candidate: \xff", ".+can't decode.+"),
    ],
    ids=lambda x: repr(x)[:30],
)
def test_parse_yaml_gives_the_reason_for_a_refusal(content: str | bytes, reason: str) -> None:
    raw = content if isinstance(content, bytes) else content.encode()
    with pytest.raises(ParamsError, match=rf"^a\.yaml must be YAML, got: {reason}\.$") as error:
        parse_yaml(raw, where="a.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["fetch.dataset", "calibrate.size", "quantize_onnx.types"])
def test_load_params_writes_out_no_aliases_that_multiply(tmp_path: Path, key: str) -> None:
    bomb = "x0: &x0 [lol]\n" + "".join(
        f"x{i + 1}: &x{i + 1} [{', '.join([f'*x{i}'] * 9)}]\n" for i in range(20)
    )
    rest = yaml.safe_dump(changed({key: "BOMB"})).replace("BOMB", "*x20")
    (tmp_path / "params.yaml").write_text(bomb + rest)
    with pytest.raises(ParamsError, match=rf"{re.escape(key)}\S* must be .+, got \[\[") as error:
        load_params(tmp_path / "params.yaml")
    assert len(str(error.value)) < 20_000
    assert error.value.__cause__ is error.value.__context__ is None


PIECES = [
    "a", "1", ":", "- ", "\n", " ", "&x ", "*x", "!!set ", "!!int ", "<<", "?", "[", "]", "{", "}",
    "!!binary ", "!!timestamp ", "!!omap ", "~", "|", ">", "'", '"', "#", "%", "fetch", "\t",
    "2020-01-01", "\0",
]  # fmt: skip


@settings(max_examples=300)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=30))
def test_parse_yaml_raises_nothing_but_params_errors(pieces: list[str]) -> None:
    with suppress(ParamsError):
        parse_yaml("".join(pieces).encode(), where="a.yaml")


@pytest.mark.parametrize(
    ("source", "expected", "suffix"),
    [
        ("HTTPS://host.example/b.keras?x=1.h5#y.h5", True, ".keras"),
        ("http://host.h5", True, ""),
        ("a/b.h5", False, ".h5"),
        ("b?x.h5", False, ".h5"),
        ("a.keras/b", False, ""),
        ("ftp://host/x", False, ""),
        ("//[x", False, ""),
    ],
)
def test_is_url_and_source_path(source: str, expected: bool, suffix: str) -> None:
    assert is_url(source) == expected
    assert source_path(source).suffix == suffix
