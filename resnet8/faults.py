"""Says in one line what is wrong with a parameter, after a Pydantic error."""

import difflib
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel

from resnet8.errors import shown


def describe(error: Any, root: type[BaseModel]) -> str:
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
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
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
