"""What params.yaml may say, and what is told about the rest."""

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
from resnet8.core.names import is_url, source_path
from resnet8.core.params import Params, check_params, load_params
from tests.parameters import TEST_PARAMS

SHA256 = "0123456789abcdef" * 4
URL = "https://host.example/model.h5"

VALID: dict[str, Any] = {
    "fetch": {"dataset": "cifar10", "model": "mlperf_tiny", "model_sha256": None},
    "convert_onnx": {"opset": 17},
    "calibrate": {"size": 1000, "seed": 0, "batches": [1]},
    "fit": {
        "activation_range": "mse",
        "activation_symmetric": False,
        "percentile": 99.99,
        "histogram_bins": 2048,
        "entropy_levels": 128,
        "equalization": 0.75,
        "weight_rounding": "gptq",
        "weight_symmetric": True,
        "per_channel": True,
        "gptq_damping": 0.01,
        "bias_correction": True,
        "float_layers": [],
    },
    "quantize_onnx": {"types": ["int8", "uint8"]},
    "quantize_torch": {"types": ["int8"]},
    "evaluate": {"batch_size": 128},
    "inspect": {"input": "test:0", "images": 250, "sensitivity_images": 150},
    "compare": {"baseline": "keras_fp32"},
    "sweep": {"grid": []},
    "gate": {
        "float_accuracy_min": 0.85,
        "float_parity_max": 0.0001,
        "drop_max_pp": {"default": 0.5},
        "class_drop_max_pp": {"default": 3.0},
        "calibration_images_min": 100,
        "significance": 0.01,
    },
    "candidate": "keras_fp32",
}
KEYS = [
    f"{name}.{key}" if key else name
    for name, section in VALID.items()
    for key in (section if isinstance(section, dict) else [""])
]


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """Valid parameters but for these, by dotted key."""
    raw = copy.deepcopy(VALID)
    for dotted, value in changes.items():
        section, _, key = dotted.rpartition(".")
        (raw[section] if section else raw)[key] = value
    return raw


def without(dotted: str) -> dict[str, Any]:
    raw = copy.deepcopy(VALID)
    section, _, key = dotted.rpartition(".")
    del (raw[section] if section else raw)[key]
    return raw


def faults(raw: object) -> list[str]:
    """What check_params tells, a line each."""
    with pytest.raises(ParamsError, match=r"^params\.yaml has \d+ faults?:\n  - ") as told:
        check_params(raw)
    return str(told.value).split("\n  - ")[1:]


def fault(changes: dict[str, Any]) -> str:
    (line,) = faults(changed(changes))
    return line


def written(folder: Path, content: str) -> Path:
    (folder / "params.yaml").write_text(content, encoding="utf-8")
    return folder / "params.yaml"


# What is right.


def test_load_params_accepts_the_tests_own_file() -> None:
    assert load_params(TEST_PARAMS).variants[:1] == ("keras_fp32",)


def test_load_params_returns_what_the_file_says(tmp_path: Path) -> None:
    params = load_params(written(tmp_path, yaml.safe_dump(VALID)))
    assert params.model_dump() == VALID


@pytest.mark.parametrize(
    "changes",
    [
        {"calibrate.size": 1},
        {"calibrate.size": 10_000},
        {"calibrate.size": 50_000, "calibrate.batches": [5, 4, 3, 2, 1]},
        {"calibrate.seed": 2**32 - 1},
        {"convert_onnx.opset": 13},
        {"convert_onnx.opset": 18},
        {"evaluate.batch_size": 1},
        {"evaluate.batch_size": 10_000},
        {"fit.activation_range": "minmax", "fit.weight_rounding": "nearest"},
        {"fit.activation_range": "percentile", "fit.percentile": 100},
        {"fit.percentile": 50.1},
        {"fit.activation_range": "entropy", "fit.histogram_bins": 128, "fit.entropy_levels": 2},
        {"fit.histogram_bins": 65_536, "fit.entropy_levels": 256},
        {"fit.equalization": 0},
        {"fit.equalization": 1.0},
        {"fit.per_channel": False, "fit.weight_symmetric": False},
        {"fit.per_channel": False},
        {"fit.gptq_damping": 1e-9},
        {"fit.gptq_damping": 1},
        {"fit.float_layers": ["conv2d", "dense"]},
        {"quantize_onnx.types": []},
        {"quantize_torch.types": []},
        {"quantize_onnx.types": ["uint8_int8"], "candidate": "onnx_uint8_int8"},
        {"compare.baseline": "torch_int8"},
        {"fetch.model": "some/folder/model.keras"},
        {"fetch.model": "/model.h5", "fetch.model_sha256": SHA256},
        {"fetch.model": URL, "fetch.model_sha256": SHA256},
        {"fetch.model": f"{URL}?download=1", "fetch.model_sha256": SHA256},
        {"fetch.dataset": "sample", "fetch.model": "sample", "calibrate.size": 2000},
    ],
)
def test_check_params_accepts_all_within_the_documented_ranges(changes: dict[str, Any]) -> None:
    assert check_params(changed(changes)).model_dump() == changed(changes)


def test_check_params_gives_parameters_that_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        check_params(VALID).calibrate.size = 2


def test_params_variants_are_in_the_order_of_the_steps() -> None:
    raw = changed({"quantize_onnx.types": ["uint8_int8", "int8", "uint8"]})
    assert check_params(raw).variants == (
        "keras_fp32",
        "onnx_fp32",
        "torch_fp32",
        "onnx_uint8_int8",
        "onnx_int8",
        "onnx_uint8",
        "torch_int8",
    )


def test_params_variants_are_the_float_ones_without_types() -> None:
    raw = changed({"quantize_onnx.types": [], "quantize_torch.types": []})
    assert check_params(raw).variants == ("keras_fp32", "onnx_fp32", "torch_fp32")


# A value outside its range: the key, the range and the value.


@pytest.mark.parametrize("size", [0, -1, 60_000, "many", "1000", 1000.0, None, [1]])
def test_check_params_tells_the_range_of_the_calibration_size(size: object) -> None:
    assert fault({"calibrate.size": size}) == (
        f"calibrate.size must be a number from 1 to 50000, got {size!r}."
    )


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, "0", None])
def test_check_params_tells_the_range_of_the_seed(seed: object) -> None:
    assert fault({"calibrate.seed": seed}) == (
        f"calibrate.seed must be a whole number from 0 to 4294967295, got {seed!r}."
    )


@pytest.mark.parametrize("batches", [[], [1, 1], 1, "1", None])
def test_check_params_tells_what_batches_there_are(batches: object) -> None:
    expected = "a list of different batch numbers from 1 to 5, at least one"
    assert fault({"calibrate.batches": batches}) == (
        f"calibrate.batches must be {expected}, got {batches!r}."
    )


@pytest.mark.parametrize("number", [0, 6, "1", 1.0, True])
def test_check_params_tells_which_batch_is_wrong(number: object) -> None:
    line = fault({"calibrate.batches": [1, number]})
    assert line.startswith("calibrate.batches[1] must be ")
    assert line.endswith(f"from 1 to 5, at least one, got {number!r}.")


@pytest.mark.parametrize("opset", [12, 19, "17", 17.0])
def test_check_params_tells_the_range_of_the_opset(opset: object) -> None:
    assert fault({"convert_onnx.opset": opset}) == (
        f"convert_onnx.opset must be an ONNX operator set from 13 to 18, got {opset!r}."
    )


@pytest.mark.parametrize("size", [0, 10_001, "all"])
def test_check_params_tells_the_range_of_the_batch_size(size: object) -> None:
    assert fault({"evaluate.batch_size": size}) == (
        f"evaluate.batch_size must be a number of images from 1 to 10000, got {size!r}."
    )


@pytest.mark.parametrize("key", ["calibrate.size", "calibrate.seed", "evaluate.batch_size"])
def test_check_params_takes_true_for_no_number(key: str) -> None:
    assert fault({key: True}).startswith(f"{key} must be a ")


@pytest.mark.parametrize("flag", ["yes", 1, 0, None])
@pytest.mark.parametrize(
    "key", ["activation_symmetric", "weight_symmetric", "per_channel", "bias_correction"]
)
def test_check_params_takes_only_true_and_false_for_a_flag(key: str, flag: object) -> None:
    assert fault({f"fit.{key}": flag}) == f"fit.{key} must be true or false, got {flag!r}."


@pytest.mark.parametrize(
    ("key", "expected", "values"),
    [
        ("percentile", "a percentage above 50, up to 100", [50, 50.0, 100.1, "99", None, True]),
        ("histogram_bins", "a number from 128 to 65536", [127, 65_537, 256.5, "256", True]),
        ("entropy_levels", "a number from 2 to 256", [1, 257, 2.5, "2", True]),
        ("equalization", "a strength from 0 to 1", [-0.1, 1.01, "1", None, True, float("nan")]),
        ("gptq_damping", "a share above 0, up to 1", [0, -0.1, 1.1, "0.1", None, True]),
        ("float_layers", "a list of different names of layers", [None, "dense", 5]),
    ],
)
def test_check_params_tells_the_range_of_what_fit_takes(
    key: str, expected: str, values: list[object]
) -> None:
    for value in values:
        assert fault({f"fit.{key}": value}) == f"fit.{key} must be {expected}, got {value!r}."


@pytest.mark.parametrize(
    ("key", "known", "value", "meant"),
    [
        ("activation_range", "minmax or percentile or entropy or mse", "min_max", "minmax"),
        ("weight_rounding", "nearest or gptq", "gtpq", "gptq"),
    ],
)
def test_check_params_suggests_the_method_that_was_meant(
    key: str, known: str, value: str, meant: str
) -> None:
    assert fault({f"fit.{key}": value}) == (
        f"fit.{key} must be {known}, got {value!r}. Did you mean {meant}?"
    )


def test_check_params_refuses_a_float_layer_for_the_second_time() -> None:
    assert fault({"fit.float_layers": ["dense", "dense"]}) == (
        "fit.float_layers must be a list of different names of layers, got ['dense', 'dense']."
    )


def test_check_params_tells_which_float_layer_is_no_name() -> None:
    line = fault({"fit.float_layers": ["dense", 5]})
    assert line == "fit.float_layers[1] must be a list of different names of layers, got 5."


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_check_params_takes_no_nan_or_infinity(number: float) -> None:
    assert fault({"calibrate.size": number}).endswith(f"from 1 to 50000, got {number}.")


def test_check_params_suggests_the_type_that_was_meant() -> None:
    assert fault({"quantize_onnx.types": ["int8", "uint_8"]}) == (
        "quantize_onnx.types[1] must be int8 or uint8 or uint8_int8, got 'uint_8'. "
        "Did you mean uint8?"
    )


def test_check_params_lists_the_types_when_none_is_close() -> None:
    assert fault({"quantize_onnx.types": ["fp16"]}) == (
        "quantize_onnx.types[0] must be int8 or uint8 or uint8_int8, got 'fp16'."
    )


def test_check_params_refuses_a_type_that_only_onnx_has() -> None:
    line = fault({"quantize_torch.types": ["uint8"]})
    assert line == "quantize_torch.types[0] must be int8, got 'uint8'. Did you mean int8?"


@pytest.mark.parametrize(
    ("key", "types"), [("quantize_onnx", ["uint8", "uint8"]), ("quantize_torch", ["int8", "int8"])]
)
def test_check_params_refuses_repeated_types(key: str, types: list[str]) -> None:
    line = fault({f"{key}.types": types})
    assert line.startswith(f"{key}.types must be a list of different types out of ")
    assert line.endswith(f"got {types!r}.")


def test_check_params_suggests_the_dataset_that_was_meant() -> None:
    assert fault({"fetch.dataset": "cifar-10"}) == (
        "fetch.dataset must be cifar10 or sample, got 'cifar-10'. Did you mean cifar10?"
    )


@pytest.mark.parametrize(
    "model", ["resnet8", "model.onnx", "http://host.example/", "", ".h5", "http://[::1/m.h5", None]
)
def test_check_params_tells_what_a_model_can_be(model: object) -> None:
    expected = "mlperf_tiny, sample, or the path or http(s) URL of a .h5 or .keras file"
    assert fault({"fetch.model": model}) == f"fetch.model must be {expected}, got {model!r}."


@pytest.mark.parametrize("checksum", ["", SHA256[:-1], SHA256.upper(), SHA256 + "\n", 5])
def test_check_params_tells_what_a_checksum_looks_like(checksum: object) -> None:
    line = fault({"fetch.model": URL, "fetch.model_sha256": checksum})
    expected = "null or a SHA-256 of 64 lower-case hexadecimal digits"
    assert line.startswith(f"fetch.model_sha256 must be {expected}, got ")


def test_check_params_shows_a_long_value_cut_short() -> None:
    assert len(fault({"fetch.dataset": "x" * 100_000})) < 200


def test_check_params_shows_an_integer_too_long_to_write_out() -> None:
    assert fault({"calibrate.size": 10**5000}).endswith("from 1 to 50000, got a huge int.")


# Keys.


@pytest.mark.parametrize("key", KEYS)
def test_check_params_names_each_missing_parameter(key: str) -> None:
    (line,) = faults(without(key))
    assert line.startswith(f"{key} is missing; it must be ")


@pytest.mark.parametrize("section", [key for key in VALID if key != "candidate"])
def test_check_params_names_each_missing_section(section: str) -> None:
    assert faults(without(section)) == [f"{section} is missing; it must be a section."]


def test_check_params_tells_the_range_of_a_missing_parameter() -> None:
    assert faults(without("calibrate.size")) == [
        "calibrate.size is missing; it must be a number from 1 to 50000."
    ]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("calibrate.sizes", "size"),
        ("evaluate.batchsize", "batch_size"),
        ("fetch.model_sha265", "model_sha256"),
        ("calibrat", "calibrate"),
        ("quantise_onnx", "quantize_onnx"),
    ],
)
def test_check_params_suggests_the_key_that_was_meant(key: str, meant: str) -> None:
    assert fault({key: 1}) == f"{key} is not a parameter. Did you mean {meant}?"


def test_check_params_lists_the_keys_of_the_section_when_none_is_close() -> None:
    assert fault({"calibrate.x": 1}) == (
        "calibrate.x is not a parameter. Known: size, seed, batches."
    )


def test_check_params_tells_a_misspelt_section_as_unknown_and_missing() -> None:
    raw = without("calibrate") | {"calibration": VALID["calibrate"]}
    assert faults(raw) == [
        "calibrate is missing; it must be a section.",
        "calibration is not a parameter. Did you mean calibrate?",
    ]


@pytest.mark.parametrize("key", [1, 1.5, None, True, (1, 2)])
def test_check_params_refuses_a_key_that_is_no_text(key: object) -> None:
    (line,) = faults(VALID | {key: 1})
    assert re.fullmatch(r".+ is not a parameter\. Known: fetch, .+, candidate\.", line)


def test_check_params_refuses_a_key_that_is_no_text_within_a_section() -> None:
    (line,) = faults(VALID | {"evaluate": {"batch_size": 128, 1: 2}})
    assert line == "evaluate[1] is not a parameter. Known: batch_size."


@pytest.mark.parametrize("section", [None, [], "1000", 5])
def test_check_params_refuses_a_section_that_is_no_mapping(section: object) -> None:
    assert fault({"calibrate": section}) == f"calibrate must be a section, got {section!r}."


@pytest.mark.parametrize("raw", [None, [], [VALID], "fetch", 5])
def test_check_params_refuses_a_top_level_that_is_no_mapping(raw: object) -> None:
    (line,) = faults(raw)
    assert line.startswith("the top level must be a mapping of sections, got ")


def test_check_params_tells_everything_about_nothing() -> None:
    assert [line.split()[0] for line in faults({})] == list(Params.model_fields)


# Faults that only show when two parameters are seen together.


@pytest.mark.parametrize("key", ["candidate", "compare.baseline"])
def test_check_params_refuses_a_name_that_is_no_variant_and_lists_them(key: str) -> None:
    known = "keras_fp32, onnx_fp32, torch_fp32, onnx_int8, onnx_uint8, torch_int8"
    assert fault({key: "onnx_uint8_int8"}) == (
        f"{key} must be one of {known}, got 'onnx_uint8_int8'."
    )


@pytest.mark.parametrize("key", ["candidate", "compare.baseline"])
def test_check_params_tells_that_a_name_must_be_text(key: str) -> None:
    assert fault({key: 5}) == f"{key} must be the name of a variant, got 5."


def test_check_params_refuses_a_url_without_a_checksum() -> None:
    assert fault({"fetch.model": URL}) == (
        f"fetch.model_sha256 must be the SHA-256 of the file behind {URL}, got null."
    )


@pytest.mark.parametrize("model", ["mlperf_tiny", "sample"])
def test_check_params_refuses_a_checksum_for_a_built_in_model(model: str) -> None:
    assert fault({"fetch.model": model, "fetch.model_sha256": SHA256}) == (
        f"fetch.model_sha256 must be null for {model}, whose checksum is built in, got {SHA256}."
    )


@pytest.mark.parametrize(
    ("dataset", "batches", "pool"),
    [("cifar10", [2], 10_000), ("cifar10", [2, 5], 20_000), ("sample", [1, 2, 3], 6000)],
)
def test_check_params_refuses_more_images_than_the_chosen_batches_have(
    dataset: str, batches: list[int], pool: int
) -> None:
    changes = {
        "fetch.dataset": dataset,
        "calibrate.batches": batches,
        "calibrate.size": pool + 1,
    }
    assert fault(changes) == (
        f"calibrate.size must be from 1 to {pool}, the training images in calibrate.batches "
        f"{batches} of {dataset}, got {pool + 1}."
    )


def test_check_params_refuses_a_zero_point_for_each_channel() -> None:
    assert fault({"fit.weight_symmetric": False}) == (
        "fit.weight_symmetric must be true with fit.per_channel: true, got false: kernels take "
        "one zero point for all channels."
    )


def test_check_params_refuses_more_levels_than_bins() -> None:
    assert fault({"fit.entropy_levels": 200, "fit.histogram_bins": 128}) == (
        "fit.entropy_levels must be at most fit.histogram_bins, 128, got 200."
    )


def test_check_params_tells_faults_between_parameters_beside_those_of_others() -> None:
    raw = changed({"evaluate.batch_size": 0, "candidate": "onnx", "calibrate.size": 20_000})
    assert [line.split()[0] for line in faults(raw)] == [
        "evaluate.batch_size",
        "calibrate.size",
        "candidate",
    ]


def test_check_params_tells_all_faults_with_their_number() -> None:
    raw = changed({"calibrate.size": "many", "fetch.dataset": "mnist", "evaluate.x": 1})
    with pytest.raises(ParamsError, match=r"^here\.yaml has 3 faults:\n  - fetch\.dataset must"):
        check_params(raw, where="here.yaml")
    assert [line.split()[0] for line in faults(raw)] == [
        "fetch.dataset",
        "calibrate.size",
        "evaluate.x",
    ]


def test_check_params_tells_one_fault_in_the_singular() -> None:
    with pytest.raises(ParamsError, match=r"^params\.yaml has 1 fault:\n"):
        check_params(changed({"calibrate.size": 0}))


# Whatever the file says.

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


def only_params_errors(raw: object) -> None:
    try:
        params = check_params(raw)
    except ParamsError:
        return
    assert params.model_dump() == raw


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(raw=ANYTHING)
def test_check_params_raises_nothing_but_params_errors(raw: object) -> None:
    only_params_errors(raw)


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(key=st.sampled_from([*KEYS, *VALID]), value=ANYTHING)
@example(key="fetch", value={1: 2})
@example(key="fetch.dataset", value=10**5000)
@example(key="calibrate.batches", value=[[1], {}])
def test_check_params_raises_nothing_but_params_errors_for_one_wrong_value(
    key: str, value: object
) -> None:
    only_params_errors(changed({key: value}))


def test_check_params_ends_with_faults_for_parameters_within_themselves() -> None:
    raw = copy.deepcopy(VALID)
    raw["calibrate"] = raw
    assert "calibrate.size is missing; it must be a number from 1 to 50000." in faults(raw)


# The file.


def test_load_params_names_the_file_and_the_remedy_when_it_is_missing(tmp_path: Path) -> None:
    expected = r"/none\.yaml must exist\. Run the command in the project's folder\.$"
    with pytest.raises(ParamsError, match=expected):
        load_params(tmp_path / "none.yaml")


def test_load_params_names_the_file_of_a_fault(tmp_path: Path) -> None:
    path = written(tmp_path, yaml.safe_dump(changed({"calibrate.size": 0})))
    with pytest.raises(ParamsError, match=rf"^{path} has 1 fault:\n  - calibrate\.size must be"):
        load_params(path)


def test_load_params_tells_the_line_of_a_syntax_error_on_one_line(tmp_path: Path) -> None:
    path = written(tmp_path, "fetch:\n  dataset: [cifar10\ncalibrate: {}\n")
    with pytest.raises(ParamsError, match=r"params\.yaml must be YAML, got: .*line 3, column") as e:
        load_params(path)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "content",
    [
        "candidate: 2020-13-45",
        "candidate: " + "1" * 5000,
        "candidate: !!timestamp later",
        "candidate: !!bool maybe",
        "candidate: !!int ''",
        "candidate: !!python/object/apply:os.getpid []",
        "a: *unknown",
        "a: \t- b",
        "? [a]\n: b",
        "[" * 1000,
    ],
)
def test_load_params_tells_that_a_file_is_no_yaml(tmp_path: Path, content: str) -> None:
    with pytest.raises(ParamsError, match=r"params\.yaml must be YAML, got: ."):
        load_params(written(tmp_path, content))


@pytest.mark.parametrize("content", [b"candidate: \xff", b"a\x00b"])
def test_load_params_tells_that_a_file_is_no_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(ParamsError, match="must be YAML, got: .*(can't decode|not allowed)"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("content", "found"), [("", "None"), ("# nothing\n", "None"), ("- fetch\n", r"\['fetch'\]")]
)
def test_load_params_tells_what_an_empty_file_or_a_list_must_be(
    tmp_path: Path, content: str, found: str
) -> None:
    expected = rf"1 fault:\n  - the top level must be a mapping of sections, got {found}\.$"
    with pytest.raises(ParamsError, match=expected):
        load_params(written(tmp_path, content))


@pytest.mark.parametrize("key", ["fetch.dataset", "calibrate.size", "quantize_onnx.types"])
def test_load_params_tells_a_short_fault_for_aliases_that_multiply(
    tmp_path: Path, key: str
) -> None:
    bomb = "x0: &x0 [lol]\n" + "".join(
        f"x{i + 1}: &x{i + 1} [{', '.join([f'*x{i}'] * 9)}]\n" for i in range(20)
    )
    rest = yaml.safe_dump(changed({key: "BOMB"})).replace("BOMB", "*x20")
    with pytest.raises(ParamsError, match=rf"{re.escape(key)}\S* must be .+, got \[\[") as told:
        load_params(written(tmp_path, bomb + rest))
    assert len(str(told.value)) < 20_000


def test_load_params_refuses_a_key_for_the_second_time(tmp_path: Path) -> None:
    content = yaml.safe_dump(VALID) + "candidate: onnx_int8\n"
    with pytest.raises(
        ParamsError, match=r"got: the key 'candidate' for the second time in .+ line"
    ):
        load_params(written(tmp_path, content))


def test_load_params_refuses_merge_keys(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"must be YAML, got: a merge key \(<<\) in .+ line 2"):
        load_params(written(tmp_path, "a: &a {x: 1}\nb: {<<: *a}\n"))


def test_load_params_refuses_a_long_file_unread(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="must be a file of at most 65536 bytes, got 65537 bytes"):
        load_params(written(tmp_path, "[" * 65_537))


def only_params_errors_from(path: Path) -> None:
    with suppress(ParamsError):
        load_params(path)


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(content=st.binary(max_size=60))
def test_load_params_raises_nothing_but_params_errors_for_any_bytes(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    only_params_errors_from(path)


PIECES = [
    "a",
    "1",
    ":",
    "- ",
    "\n",
    " ",
    "&x ",
    "*x",
    "!!set ",
    "!!int ",
    "<<",
    "?",
    "[",
    "]",
    "{",
    "}",
]
PIECES += [
    "!!binary ",
    "!!timestamp ",
    "!!omap ",
    "~",
    "|",
    ">",
    "'",
    '"',
    "#",
    "%",
    "fetch",
    "\t",
    "2020-01-01",
]


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=30))
def test_load_params_raises_nothing_but_params_errors_for_any_yaml(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text("".join(pieces))
    only_params_errors_from(path)


# Paths and URLs.


@pytest.mark.parametrize("source", ["http://host/x", "https://host/x", "HTTPS://host/x"])
def test_is_url_finds_http_and_https(source: str) -> None:
    assert is_url(source)


@pytest.mark.parametrize(
    "source", ["/x", "x.h5", "ftp://host/x", "file:///x", "C:\\x", "httpx/y", "", "//[x"]
)
def test_is_url_takes_all_else_for_a_path(source: str) -> None:
    assert not is_url(source)


@pytest.mark.parametrize(
    ("source", "suffix"),
    [
        ("a/b.h5", ".h5"),
        ("a.keras/b", ""),
        ("b?x.h5", ".h5"),
        ("https://host.example/b.keras?x=1.h5#y.h5", ".keras"),
        ("https://host.h5", ""),
    ],
)
def test_source_path_has_the_suffix_of_the_file(source: str, suffix: str) -> None:
    assert source_path(source).suffix == suffix


@pytest.mark.parametrize("text", ["test:9999", "test:0,5", "calibration:19", "random:123456789"])
def test_check_params_accepts_every_kind_of_input(text: str) -> None:
    assert check_params(changed({"inspect.input": text})).inspect.input == text


@pytest.mark.parametrize("text", ["0", "test", "test:-1", "train:0", "test:1 2", "random:"])
def test_check_params_tells_the_forms_of_an_input(text: str) -> None:
    (fault,) = faults(changed({"inspect.input": text}))
    assert fault == (
        "inspect.input must be test:<index>[,<index>...], calibration:<batch number> or "
        f"random:<seed>, got '{text}'."
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("test:3,10000", "test numbers must be from 0 to 9999, got 10000."),
        ("calibration:20", "calibration numbers must be from 0 to 19, got 20."),
    ],
)
def test_check_params_tells_what_inputs_there_are(text: str, expected: str) -> None:
    assert faults(changed({"inspect.input": text})) == [f"inspect.input: {expected}"]
