"""Parameter files, as `validate` reads them; tests/core/test_params.py has the rest."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from stages import validate
from tests.hostile.harness import MARKER, Case, params, refuse, table

FILE = r"\S+/params\.yaml"
OBJECT = "!!python/object/apply:os.system ['touch {}']"
TAGS = (
    OBJECT, "!!python/object/new:os.system ['touch {}']", "!!python/module:os",
    "!!python/name:os.system",
)  # fmt: skip
NO_TAG = FILE + r" must be YAML, got: could not determine a constructor for the tag .+\."
NO_MODEL = rf"fetch\.model must be .+, got 'none/m\.h5', which is not a file \({FILE}\)\."
SURROGATE = FILE + r" has 1 fault:\n  - candidate must be .+, got '\\ud800'\."


def tagged(tag: str) -> Case:
    def write(path: Path) -> None:
        path.write_text(f"a: {tag.format(path.parent / MARKER)}")

    return Case(tag.split(maxsplit=1)[0], write, NO_TAG)


def changed(name: str, fault: str, **changes: object) -> Case:
    """Valid parameters except for these."""
    content = yaml.safe_dump(params(**changes), sort_keys=False)
    return Case(name, lambda path: path.write_text(content), fault)


@table(
    *map(tagged, TAGS),
    Case("empty", Path.touch, FILE + r" has 1 fault:\n  - the top level must be .+, got None\."),
    Case("a folder", Path.mkdir, rf"Is a directory \({FILE}\)\."),
    Case("a link to itself", lambda path: path.symlink_to(path), ".*symbolic links.+"),
    changed("half a surrogate", SURROGATE, candidate="\ud800"),
    changed("a model that is not there", NO_MODEL, fetch__model="none/m.h5"),
)
def test_validate_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case) -> None:
    folder = tmp_path / "project"
    paths: dict[str, object] = {
        name: folder / name for name in ("linked", "metrics", "models", "predictions")
    }
    for name in paths:
        (folder / name).mkdir(parents=True)
    stale = folder / "metrics" / "onnx_uint8_int8.json"
    stale.write_text("{}")  # would be removed if the parameters were valid
    case.write(folder / "params.yaml")
    arguments = {"params": folder / "params.yaml", "out": folder / "schema.json", **paths}
    refuse(validate.main, arguments, capfd, folder=folder, message=case.message)
    assert not (folder / MARKER).exists()


def test_yaml_itself_runs_the_payload(tmp_path: Path) -> None:
    load: Callable[[str], object] = yaml.unsafe_load
    load(OBJECT.format(tmp_path / "ran"))
    assert (tmp_path / "ran").exists()
