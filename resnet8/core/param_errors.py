"""Says in one line what is wrong with a parameter file: in its YAML, or after a Pydantic error."""

import difflib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from resnet8.core.errors import ParamsError, shown

MAX_FILE_BYTES = 2**16  # the project's own has 2 kB
MAX_LEVELS = 100

# What PyYAML raises for a file that is none, or for a value that Python cannot hold.
_YAML_FAULTS = (
    yaml.YAMLError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


class _Loader(yaml.SafeLoader):
    """Reads plain data, each key once and as written.

    Merge keys (`<<`) copy what they refer to: a few lines of them fill any memory.
    """

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(problem="a merge key (<<)", problem_mark=key.start_mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        if len(found) < len(node.value):
            keys = [self.construct_object(key) for key, _ in node.value]
            number = next(n for n, key in enumerate(keys) if key in keys[:n])
            raise yaml.MarkedYAMLError(
                problem=f"the key {shown(keys[number])} for the second time",
                problem_mark=node.value[number][0].start_mark,
            )
        return found


def read_yaml(path: Path) -> object:
    """Reads plain data from a short YAML file.

    Raises:
        ParamsError: it is missing, no file, too long or not YAML, or a key is there twice.
    """
    if not path.exists():
        raise ParamsError(f"{path} must exist. Run the command in the project's folder.")
    size = path.stat().st_size
    if not path.is_file() or size > MAX_FILE_BYTES:
        found = f"{size} bytes" if path.is_file() else "something else"
        raise ParamsError(f"{path} must be a file of at most {MAX_FILE_BYTES} bytes, got {found}.")
    return parse_yaml(path.read_bytes(), where=str(path))


def parse_yaml(content: bytes, *, where: str) -> object:
    """Parses plain data, as `read_yaml` does.

    Raises:
        ParamsError: the content of the file called `where` is not YAML, or a key is there twice.
    """
    try:
        # A SafeLoader that takes less.
        return yaml.load(content.decode(), _Loader)  # noqa: S506
    except _YAML_FAULTS as exc:
        reason = " ".join(str(exc).split())[:300]
        raise ParamsError(f"{where} must be YAML, got: {reason}.") from exc


def refuse_deep(path: Path) -> None:
    """Refuses YAML for which parsers in C need more stack than there is, and end the process.

    Raises:
        ParamsError: the file is nested deeper than `MAX_LEVELS`.
    """
    depth = 0
    with suppress(yaml.YAMLError):  # which its reader tells
        for event in yaml.parse(path.read_bytes(), Loader=yaml.CSafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_LEVELS:
                raise ParamsError(f"{path} must be nested at most {MAX_LEVELS} levels, got more.")


def describe_fault(error: Any, root: type[BaseModel]) -> str:
    """One line for one error; field descriptions complete `<key> must be …`.

    Args:
        error: one of `ValidationError.errors()`.
        root: the model that was validated; its fields are sections or values.
    """
    loc: tuple[str | int, ...] = error["loc"]
    fields = _model_at(loc, root).model_fields
    key = next((str(part) for part in loc[1:2] or loc[:1]), "")
    if error["type"] in ("extra_forbidden", "invalid_key"):
        known = f" Known: {', '.join(fields)}."
        return f"{_dotted(loc)} is not a parameter.{_did_you_mean(key, list(fields)) or known}"
    if error["type"] == "missing":
        return f"{_dotted(loc)} is missing; it must be {fields[key].description}."
    if not loc:
        return f"the top level must be a mapping of sections, got {shown(error['input'])}."
    expected, hint = fields[key].description, ""
    if error["type"] == "literal_error":  # also of one entry of a list
        choices = _choices(fields[key].annotation)
        expected, hint = " or ".join(choices), _did_you_mean(error["input"], choices)
    return f"{_dotted(loc)} must be {expected}, got {shown(error['input'])}.{hint}"


def _did_you_mean(word: object, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1) if isinstance(word, str) else []
    return f" Did you mean {close[0]}?" if close else ""


def _dotted(loc: Sequence[str | int]) -> str:
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part if part.isprintable() and len(part) <= 60 else shown(part)}"
    return text.removeprefix(".")


def _model_at(loc: Sequence[str | int], root: type[BaseModel]) -> type[BaseModel]:
    """The section class that holds the key at `loc`."""
    if len(loc) < 2:
        return root
    section = root.model_fields[str(loc[0])].annotation
    if isinstance(section, type) and issubclass(section, BaseModel):
        return section
    return root


def _choices(annotation: Any) -> list[str]:
    """The strings that a (list of a) Literal allows."""
    found = [item for item in get_args(annotation) if isinstance(item, str)]
    return found or [word for item in get_args(annotation) for word in _choices(item)]
