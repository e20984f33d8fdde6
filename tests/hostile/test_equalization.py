"""Equalization factors in model files, as the visualizer and `isolation` read them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from resnet8.core.errors import ArtifactError
from resnet8.core.variants import Variant
from resnet8.inspection import isolation
from resnet8.inspection.units import read_metadata
from resnet8.inspection.watch import load_variants
from resnet8.models import torch_file, torch_model
from resnet8.quantize import onnx_writer
from resnet8.quantize.quantization import Quantization
from resnet8.weight_visualizer import main as look
from tests.hostile.harness import Case, refuse, table
from tests.hostile.test_torch import packed, unpacked

REMEDY = r"Run `dvc repro` to make it again\."
NONE = rf"\S+/{{}}\.(onnx|pt2) must hold equalization factors, got: .+\. {REMEDY}"
COUNT = (
    rf"The equalization of {{}} must have a factor for each of {{}} channels, got {{}}\. {REMEDY}"
)
ENTRY = "extra/equalization"


def edit_factors(path: Path, edit: Callable[[str], str]) -> None:
    """Changes the text that the file of a model carries."""
    if path.suffix == ".onnx":
        model = onnx.load(path)
        (entry,) = [x for x in model.metadata_props if x.key == "equalization"]
        entry.value = edit(entry.value)
        path.write_bytes(model.SerializeToString())
    else:
        entries = unpacked(path.read_bytes())
        changed = edit(entries[ENTRY].decode()).encode(errors="surrogateescape")
        path.write_bytes(packed(entries | {ENTRY: changed}))


def text(name: str, edit: Callable[[str], str], message: str = NONE.format("model")) -> Case:
    """A valid file with another text."""
    return Case(name, lambda folder: [edit_factors(x, edit) for x in folder.iterdir()], message)


def group(name: str, message: str = NONE.format("model"), **changes: Any) -> Case:
    """A valid file with another group of factors: `conv2d_1` is read by `conv2d_2` alone."""

    def edit(before: str) -> str:
        groups = json.loads(before)
        (group,) = [x for x in groups if x["inputs"] == ["conv2d_2"]]
        assert len(group["numerators"]) == 16
        group.update(changes)
        return json.dumps(groups)

    return text(name, edit, message)


# tests/quantize/test_equalization.py has more texts that are refused.
CASES = (
    text("a page", lambda _: "<!DOCTYPE html>"),
    text("half of it", lambda before: before[: len(before) // 2]),
    group("a factor of zero", numerators=[0] * 16),
    group("one factor for all channels", COUNT.format(r"\w+", 16, 1), numerators=[2048]),
    group("a factor too many", COUNT.format(r"\w+", 16, 17), numerators=[2048] * 17),
    group(
        "a factor too few for an output",
        COUNT.format("activation_1", 16, 15),
        numerators=[2048] * 15,
        outputs=["activation_1"],
        inputs=[],
    ),
    group(
        "a factor too few for an input",
        COUNT.format("conv2d_2", 16, 15),
        numerators=[2048] * 15,
        outputs=[],
        inputs=["conv2d_2"],
    ),
)


def of_other_bytes(folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes().replace(b'"numerators"', b'"\xff\xfemerators"', 1))


IN_ONNX = Case("other bytes", of_other_bytes, rf"\S+/model\.onnx must .+, got: .+\. {REMEDY}")
IN_TORCH = text(
    "other bytes in PyTorch's format",
    lambda _: "\udcff\udcfe",
    rf"\S+ must be an exported PyTorch program, got: .+ codec .+\. {REMEDY}",
)


@pytest.fixture(scope="module")
def models(onnx_fp32: Any, torch_int8: Any, quantization: Quantization) -> dict[str, bytes]:
    """Files by the names of their variants; tests/inspection/test_units.py reads their factors."""
    quantized = onnx_writer.quantize(onnx_fp32, quantization, quant_type="int8")
    return {
        "onnx_fp32.onnx": onnx_fp32.SerializeToString(),
        "onnx_int8.onnx": quantized.SerializeToString(),
        "torch_int8.pt2": torch_model.encode(torch_int8, quantization.metadata),
    }


@table(*CASES, IN_ONNX, IN_TORCH)
def test_visualizer_refuses(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], models: dict[str, bytes], case: Case
) -> None:
    name, suffix = ("torch_int8", ".pt2") if case is IN_TORCH else ("onnx_int8", ".onnx")
    path = (tmp_path / "models" / "model").with_suffix(suffix)
    path.parent.mkdir()
    path.write_bytes(models[name + suffix])
    case.write(path.parent)

    def call_look(arguments: list[str]) -> None:
        look([str(path), "--layers=conv2d_2", *arguments])

    arguments = {"input": "random:0", "out": tmp_path / "out"}
    refuse(call_look, arguments, capfd, folder=path.parent, message=case.message)


def test_read_metadata_refuses_to_unpack_more_than_a_program_may_have(
    tmp_path: Path, models: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(models["torch_int8.pt2"])
    monkeypatch.setattr(torch_file, "MAX_BYTES", 10_000)
    with pytest.raises(ArtifactError, match=r"got: \d+ bytes when unpacked\. Run `dvc repro`"):
        read_metadata(None, path)


# Both formats hold the same text: in PyTorch's, few cases are enough.
FEW = ("a page", "a factor too few for an input")


@table(*[case for case in CASES if case.name in FEW])
@pytest.mark.parametrize("variant", ["onnx_int8.onnx", "torch_int8.pt2"])
def test_isolation_refuses(
    tmp_path: Path, models: dict[str, bytes], variant: str, case: Case
) -> None:
    folder, apart = tmp_path / "models", tmp_path / "apart"
    apart.mkdir()
    (apart / variant).write_bytes(models[variant])
    case.write(apart)
    folder.mkdir()
    for name, content in models.items():
        (folder / name).write_bytes(content)
    (apart / variant).replace(folder / variant)
    name = Variant(Path(variant).stem)
    opened = load_variants([Variant.ONNX_FP32, name], folder, raw=folder, n_classes=10)
    with pytest.raises(ArtifactError, match=case.message.replace("model", r"\w+_int8")):
        isolation.open_variant(name, opened, folder)
