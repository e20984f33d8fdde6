"""Reads `.pt2` files: checks entries, operators and names against those that classifiers need.

torch.export.load trusts its file: it evaluates expressions, imports names, inserts names into code
that it runs, unpickles, and loads native libraries.
"""

import io
import json
import keyword
import math
import re
import zipfile
from pathlib import Path
from typing import Any

from resnet8.core.errors import shown

MAX_BYTES = 2**30
_ENTRY = re.compile(
    r"[^/]+/(models/model\.json|extra/(equalization|relu_aware)|archive_format|archive_version"
    r"|data/(weights/(weight_\d+|model_weights_config\.json)"
    r"|constants/(tensor_\d+|model_constants_config\.json))"
    r"|byteorder|\.data/(version|serialization_id))"
)
_SAMPLE_INPUTS = "data/sample_inputs/model.pt"  # a pickle; an empty entry stands for none
_SKIPPED = re.compile(rf"[^/]+/({_SAMPLE_INPUTS}|extra/(?!(equalization|relu_aware)$).+)")

# Operators of classifiers. None reads files, returns uninitialized memory or trusts an index.
_OPERATORS = """
    abs add addmm amax amin argmax ceil clamp clamp_max clamp_min clip cos cumsum div divide eq
    erf exp floor floor_divide ge greater greater_equal gt isinf isnan le less less_equal
    linalg_vector_norm log log1p logical_and logical_not logical_or lt masked_fill max maximum
    mean min minimum mul multiply ne neg not_equal pow prod reciprocal remainder round rsqrt
    rsub sign sin sqrt square std sub subtract sum true_divide trunc var where
    _to_copy alias broadcast_tensors broadcast_to cat chunk clone concat contiguous copy detach
    expand expand_as fill flatten flip index lift_fresh_copy moveaxis movedim narrow
    numpy_T pad permute pixel_shuffle pixel_unshuffle repeat reshape roll select slice split
    split_with_sizes squeeze stack swapaxes t to transpose type_as unbind unflatten unsqueeze
    view view_as
    arange full full_like new_full new_ones new_zeros ones ones_like scalar_tensor zeros zeros_like
    _upsample_nearest_exact2d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d
    alpha_dropout avg_pool1d avg_pool2d avg_pool3d baddbmm batch_norm bmm conv1d conv2d conv3d
    conv_transpose1d conv_transpose2d dropout einsum feature_dropout group_norm instance_norm
    layer_norm linear matmul max_pool1d max_pool2d mm rms_norm scaled_dot_product_attention
    upsample_bicubic2d upsample_bilinear2d upsample_nearest2d
    celu elu gelu glu hardsigmoid hardswish hardtanh leaky_relu log_sigmoid log_softmax mish
    prelu relu relu6 selu sigmoid silu softmax softplus tanh threshold
    _assert_scalar _assert_tensor_metadata sym_size
    """
_TARGET = (  # an operator, in place or not, or arithmetic on the number of images
    rf"torch\.ops\.aten\.({'|'.join(_OPERATORS.split())})_?\.(?!_)\w+"
    r"|_operator\.(getitem|add|and_|eq|floordiv|ge|gt|le|lt|mod|mul|ne|neg|or_|sub|truediv)"
    r"|torch\.sym_(float|int|ite|max|min|not)|math\.trunc"
)
_EXPRESSION = (  # without powers, so that a short expression is a small number
    r"((Add|Mul|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|ModularIndexing|Integer|Symbol"
    r"|(Strict)?(Greater|Less)Than|Equality|Unequality|And|Or|Not|true|false|s\d{1,18}|\d{1,18})\b"
    r"|[-(), ]|'s\d{1,18}'|(positive|integer)=True){0,200}"
)
_TREE = (
    r"([][{}:, 1]|null"
    r'|"(type|context|children_spec|builtins\.(tuple|dict|list)|null|\[\])")*'
)
_IDENTIFIER = rf"((?!({'|'.join(keyword.kwlist)})\b|__|\d)\w+)?"
_PATH = r"((?!__)[\w-]+(\.(?!__)[\w-]+)*(@\d+)?)?"  # features.0.bias, relu@1
_CALL = rf"[\w.@-]*,{_PATH},[\w.<>]*"
_STRINGS = {  # by key, the pattern of strings and keys in its value; _IDENTIFIER for other keys
    "target": _TARGET,
    "expr_str": _EXPRESSION,
    "range_constraints": r"s\d{1,18}",
    "in_spec": _TREE,
    "out_spec": _TREE,
    "nn_module_stack": rf"{_CALL}(;{_CALL})*",
    **dict.fromkeys(("fqn", "buffer_name", "parameter_name", "tensor_constant_name"), _PATH),
    "config": _PATH,
    "as_string": r"(?s).*",  # PyTorch writes it as a literal
    "as_float": r"-?Infinity|NaN",
    "as_floats": r"-?Infinity|NaN",
    "torch_version": r"[\w.+]*",
    "guards_code": "(?!)",  # matches nothing
    "as_operator": "(?!)",
}


def read_checked(file: Path | io.BytesIO) -> io.BytesIO:
    """Returns a new archive of the entries of a `.pt2` file; an unsafe one raises a ValueError.

    Sample inputs, foreign texts, and notes on the origin of operators are left out.
    """
    entries = _read_entries(file)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as checked:
        for name, data in entries.items():
            text = _checked_json(name, entries) if name.endswith(".json") else data
            checked.writestr(f"archive/{name}", text)
    content.seek(0)
    return content


def _read_entries(file: Path | io.BytesIO) -> dict[str, bytes]:
    """Returns the entries of an archive by their name in its only folder."""
    with zipfile.ZipFile(file) as source:
        if (size := sum(entry.file_size for entry in source.infolist())) > MAX_BYTES:
            raise ValueError(f"{size} bytes when unpacked")
        entries = {_SAMPLE_INPUTS: b""}
        for entry in source.infolist():
            name = entry.filename.partition("/")[2]
            if _SKIPPED.fullmatch(entry.filename):
                continue
            if not _ENTRY.fullmatch(entry.filename) or name in entries:
                raise ValueError(f"an entry {shown(entry.filename)}")
            if entry.compress_type != zipfile.ZIP_STORED:  # it could be a thousand times as large
                raise ValueError(f"a compressed entry {shown(entry.filename)}")
            entries[name] = source.read(entry)
    return entries


def _checked_json(name: str, entries: dict[str, bytes]) -> bytes:
    """Returns the JSON of an entry, whose tensors must not be larger than their stored bytes."""
    content = _checked(json.loads(entries[name]))
    for tensor, payload in content.get("config", {}).items():
        sizes = [size["as_int"] for size in payload["tensor_meta"]["sizes"]]
        stored = entries[f"{name.rpartition('/')[0]}/{payload['path_name']}"]
        if math.prod(sizes) > len(stored):
            raise ValueError(f"{len(stored)} bytes for {sizes} elements of {shown(tensor)}")
    return json.dumps(content).encode()


def _checked(value: Any, key: str = "") -> Any:
    """Returns a JSON value after checking all strings in it by their keys."""
    if isinstance(value, dict):
        # Of the notes on an operator, only the layers that it belongs to are kept.
        names = ["nn_module_stack"] if key == "metadata" else value
        return {_checked(name, key): _checked(value[name], name) for name in names if name in value}
    if isinstance(value, list):
        return [_checked(item, key) for item in value]
    if isinstance(value, str) and not re.fullmatch(_STRINGS.get(key, _IDENTIFIER), value):
        raise ValueError(f"{shown(value)} as {shown(key)}")
    if key == "use_pickle" and value is not False:
        raise ValueError("a pickled tensor")
    return value
