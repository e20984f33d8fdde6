"""Names of layers as identifiers: what PyTorch writes into code that it runs, and back.

Any text has an identifier of its own, so no table of names has to be stored.
"""

import keyword
import re

import torch

# Attributes that a module has anyway, and names that onnx2torch gives to its own.
_RESERVED = {*dir(torch.fx.GraphModule(torch.nn.Module(), torch.fx.Graph())), "initializers"}
_UNSAFE = re.compile(r"[^A-Za-z0-9_]|^[0-9_]|_(?=x)")
_ESCAPED = re.compile(r"_x([0-9a-f]{0,6})_")


def to_identifier(name: str) -> str:
    """Returns the name where it is a safe identifier of a module, else an escaped one.

    A character is escaped by its hexadecimal code (`a b` is `a_x20_b`); a word that means
    something to Python or PyTorch has `_x_` behind it (`forward_x_`).
    """
    escaped = _UNSAFE.sub(lambda found: f"_x{ord(found[0]):x}_", name)
    reserved = not escaped or keyword.iskeyword(escaped) or escaped in _RESERVED
    reserved = reserved or escaped.startswith("onnx_initializer_")
    return f"{escaped}_x_" if reserved else escaped


def from_identifier(identifier: str) -> str:
    """Returns the name that `to_identifier` was given; other identifiers as far as they are."""

    def character(found: re.Match[str]) -> str:
        code = int(found[1] or "0", 16)
        return (chr(code) if code < 0x110000 else found[0]) if code else ""

    return _ESCAPED.sub(character, identifier)
