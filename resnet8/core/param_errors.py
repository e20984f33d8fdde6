"""Reads YAML strictly, and describes validation errors of parameters in one line each."""

import difflib
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from resnet8.core.errors import DAMAGE, ParamsError, reason, shown

MAX_LEVELS = 100
_FAULTS: tuple[type[Exception], ...] = (yaml.YAMLError, *DAMAGE)


class ParameterError(ValueError):
    """Raised by validators whose message is complete; `describe` adds nothing to it."""


class _Loader(yaml.SafeLoader):
    """Rejects duplicate keys, and merge keys (`<<`), which can expand a few lines to any size."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        keys: list[object] = []
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                problem = "a merge key (<<)"
            elif (key := self.construct_object(key_node)) in keys:
                problem = f"the key {shown(key)} for the second time"
            else:
                keys.append(key)
                continue
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)


def parse_yaml(content: bytes, *, where: str) -> object:
    """Parses YAML in UTF-8 into plain data; `where` is its path.

    Raises:
        ParamsError: the content is not YAML, repeats a key or has a merge key.
    """
    try:
        return yaml.load(content.decode(), _Loader)  # noqa: S506 (a stricter SafeLoader)
    except _FAULTS as exc:
        raise ParamsError(f"{where} must be YAML, got: {reason(exc)}.") from exc


def refuse_deep(path: Path) -> None:
    """Rejects YAML whose nesting would overflow the stack of a parser in C.

    Raises:
        ParamsError: the file is nested deeper than `MAX_LEVELS`.
    """
    depth = 0
    with suppress(yaml.YAMLError):  # reported by whoever parses the file afterwards
        for event in yaml.parse(path.read_bytes(), Loader=yaml.CSafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_LEVELS:
                raise ParamsError(f"{path} must be nested at most {MAX_LEVELS} levels, got more.")


def describe(fault: ValidationError | ParameterError, root: type[BaseModel]) -> list[str]:
    """Describes validation errors, one line each; `root` is the validated model."""
    if isinstance(fault, ParameterError):
        return str(fault).split("\n")
    errors = fault.errors(include_url=False)
    return [line for error in errors for line in _describe_error(error, root).split("\n")]


def _describe_error(error: Any, root: type[BaseModel]) -> str:
    """Describes an error of pydantic; field descriptions complete `<key> must be …`."""
    loc: tuple[str | int, ...] = error["loc"]
    if isinstance(cause := error.get("ctx", {}).get("error"), ParameterError):
        return str(cause)
    if not loc:
        return f"the top level must be a mapping of sections, got {shown(error['input'])}."
    fields, key = root.model_fields, str(loc[0])
    section = fields[key].annotation if len(loc) > 1 else None
    if isinstance(section, type(BaseModel)):
        fields, key = section.model_fields, str(loc[1])
    if error["type"] in ("extra_forbidden", "invalid_key"):
        return f"{_dotted(loc)} is not a parameter.{suggest(key, list(fields))}"
    expected, hint = fields[key].description or "a section", ""
    if error["type"] == "missing":
        return f"{_dotted(loc)} is missing; it must be {expected}."
    if error["type"] == "literal_error":  # also for an entry of a list
        expected = error["ctx"]["expected"].replace("'", "")
        hint = suggest(error["input"], re.split(", | or ", expected), or_list=False)
    return f"{_dotted(loc)} must be {expected}, got {shown(error['input'])}.{hint}"


def suggest(word: object, known: Sequence[str], *, or_list: bool = True) -> str:
    """Returns a hint at the known name closest to a misspelt word.

    If no name is close, it lists all names, or is empty without `or_list`.
    """
    close = difflib.get_close_matches(word, known, n=1) if isinstance(word, str) else []
    if close:
        return f" Did you mean {close[0]}?"
    return f" Known: {', '.join(known)}." if or_list else ""


def _dotted(loc: Sequence[str | int]) -> str:
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part if part.isprintable() and len(part) <= 60 else shown(part)}"
    return text.removeprefix(".")
