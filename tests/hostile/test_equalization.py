"""Equalization factors in model files, as the visualizer and `isolation` read them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from resnet8.core.errors import ArtifactError
from resnet8.core.variants import Variant
from resnet8.inspection import isolation
from resnet8.inspection.units import read_metadata
from resnet8.inspection.watch import load_variants
from resnet8.models import torch_file
from resnet8.weight_visualizer import main as look
from tests.hostile.harness import Case, refuse, table
from tests.hostile.test_torch import packed, unpacked

REMEDY = r"Run `dvc repro` to make it again\."
NONE = rf"\S+/{{}}\.(onnx|pt2) must hold equalization factors, got: .+\. {REMEDY}"
COUNT = (
    rf"The equalization of conv2d_2 must have a factor for each of 16 channels, got 15\. {REMEDY}"
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


def drop_a_factor(before: str) -> str:
    """Drops a factor of the group whose tensors `conv2d_2` alone reads."""
    groups = json.loads(before)
    (group,) = [x for x in groups if x["inputs"] == ["conv2d_2"]]
    group.update(numerators=group["numerators"][1:], outputs=[])
    return json.dumps(groups)


# Both formats hold the same text; tests/quantize/test_equalization.py and
# tests/inspection/test_units.py have more that is refused.
CASES = (
    text("a page", lambda _: "<!DOCTYPE html>"),
    text("a factor too few for an input", drop_a_factor, COUNT),
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


@table(*CASES, IN_ONNX, IN_TORCH)
def test_visualizer_refuses(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], models_folder: Path, case: Case
) -> None:
    name, suffix = ("torch_int8", ".pt2") if case is IN_TORCH else ("onnx_int8", ".onnx")
    path = (tmp_path / "models" / "model").with_suffix(suffix)
    path.parent.mkdir()
    shutil.copy(models_folder / (name + suffix), path)
    case.write(path.parent)

    def call_look(arguments: list[str]) -> None:
        look([str(path), "--layers=conv2d_2", *arguments])

    arguments = {"input": "random:0", "out": tmp_path / "out"}
    refuse(call_look, arguments, capfd, folder=path.parent, message=case.message)


def test_read_metadata_refuses_to_unpack_more_than_a_program_may_have(
    models_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_file, "MAX_BYTES", 10_000)
    with pytest.raises(ArtifactError, match=r"got: \d+ bytes when unpacked\. Run `dvc repro`"):
        read_metadata(None, models_folder / "torch_int8.pt2")


@table(*CASES)
@pytest.mark.parametrize("variant", ["onnx_int8.onnx", "torch_int8.pt2"])
def test_isolation_refuses(tmp_path: Path, models_folder: Path, variant: str, case: Case) -> None:
    folder, apart = tmp_path / "models", tmp_path / "apart"
    shutil.copytree(models_folder, folder)
    apart.mkdir()
    (folder / variant).rename(apart / variant)
    case.write(apart)
    (apart / variant).rename(folder / variant)
    name = Variant(Path(variant).stem)
    opened = load_variants([Variant.ONNX_FP32, name], folder, raw=folder, n_classes=10)
    with pytest.raises(ArtifactError, match=case.message.replace("model", r"\w+_int8")):
        isolation.open_variant(name, opened, folder)
