"""Keras models as one flat graph: nested models inlined, operations outside of layers as layers."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.errors import ArtifactError
from resnet8.models.faults import FAULTS, reason
from resnet8.models.keras_library import keras

FLOAT32 = "float32"
_TOKEN = re.compile(r"keraslayer\d+")


class Call(NamedTuple):
    """One call of a layer, or one operation between layers.

    name: of the layer, with `_` for characters that cannot be printed. If the name is taken, a
        layer of a nested model gets the prefix of that model (`model/layer`), and a further call
        of a layer its number (`layer (2)`).
    kind: class of the layer or operation, as in `Conv2D`.
    layer: the copy in the flat model; its name is a token, see `flatten`.
    arguments: positional and keyword arguments: symbolic tensors of the flat model and constants.
    output: a symbolic tensor of the flat model.
    """

    name: str
    kind: str
    layer: keras.Layer
    arguments: tuple[Any, Any]
    output: Any

    def without_activation(self) -> Any:
        """The symbolic output before the layer's activation function; None without one."""
        activation = getattr(self.layer, "activation", None)
        if activation in (None, keras.activations.linear) or "activation" not in vars(self.layer):
            return None
        config = self.layer.get_config() | {"activation": "linear", "name": None}
        linear = self.layer.__class__.from_config(config)
        args, kwargs = self.arguments
        output = linear(*args, **kwargs)
        linear.set_weights(self.layer.get_weights())
        return output


class FlatModel(NamedTuple):
    """A copy of a model without nested models, and its calls in the order of computation."""

    model: keras.Model
    calls: list[Call]

    def calls_in(self, *texts: str) -> list[Call]:
        """The calls of the layers whose tokens are in some texts, layers in that order."""
        tokens = dict.fromkeys(token for text in texts for token in _TOKEN.findall(text))
        return [call for token in tokens for call in self.calls if call.layer.name == token]


class _Operation(keras.Layer):  # type: ignore[misc]
    """An operation that a model applies outside of its layers, such as `x - mean`."""

    def __init__(self, operation: Any, arguments: tuple[Any, Any], **options: Any) -> None:
        super().__init__(autocast=False, **options)
        self._operation, self._arguments = operation, arguments

    def call(self, tensors: list[Any]) -> Any:
        remaining = iter(tensors)
        args, kwargs = keras.tree.map_structure(
            lambda x: next(remaining) if keras.backend.is_keras_tensor(x) else x, self._arguments
        )
        return self._operation(*args, **kwargs)


def flatten(model: keras.Model, *, dtype: str = FLOAT32) -> FlatModel:
    """Copies a model with one input (N, 32, 32, 3) into one graph of layers of a float type.

    The layers of the copy are named by tokens, `keraslayer0000` and so on. TensorFlow puts a
    layer's name into the names of its operations, so a token in the name of an operation
    identifies the layer, whatever characters the layer's own name has.

    Raises:
        ArtifactError: a layer cannot be copied.
    """
    copies: dict[int, keras.Layer] = {}
    calls: list[Call] = []
    taken: set[str] = set()

    def call(prefix: str, operation: Any, *args: Any, **kwargs: Any) -> Any:
        if (graph := _graph(operation)) is not None:
            nested = partial(call, f"{operation.name}/")
            return graph._run_through_graph(args, call_fn=nested)
        name, kind = _unique(prefix, operation.name, taken), type(operation).__name__
        kwargs.pop("training", None)  # is chosen when the model is run
        token = f"keraslayer{len(copies):04d}"
        copy = copies.get(id(operation))
        try:
            if not isinstance(operation, keras.Layer):
                arguments = args, kwargs
                copy = _Operation(_copy(operation, dtype), arguments, name=token, dtype=dtype)
                args, kwargs = (list(_tensors(arguments)),), {}
            elif copy is None:
                copy = _copy(operation, dtype, name=token)
            outputs = copy(*args, **kwargs)
            if id(operation) not in copies and isinstance(operation, keras.Layer):
                copy.set_weights(operation.get_weights())
        except FAULTS as exc:
            raise ArtifactError(
                f"Layer {name} ({kind}) must be one that its configuration describes in full, got: "
                f"{reason(exc)}. Replace the layer by others that compute the same."
            ) from exc
        copies.setdefault(id(operation), copy)
        calls.append(Call(name, kind, copy, (args, kwargs), keras.tree.flatten(outputs)[0]))
        return outputs

    inputs = keras.Input(IMAGE_SHAPE, dtype=dtype)
    outputs = _graph(model)._run_through_graph([inputs], call_fn=partial(call, ""))
    return FlatModel(keras.Model(inputs, keras.tree.flatten(outputs)), calls)


def _graph(operation: Any) -> Any:
    """The graph of layers of a model; None for layers and operations."""
    if isinstance(operation, keras.Sequential):
        return operation._functional
    return operation if isinstance(operation, keras.Model) else None


def _unique(prefix: str, name: str, taken: set[str]) -> str:
    prefix, name = ("".join(x if x.isprintable() else "_" for x in y) for y in (prefix, name))
    names = [name, f"{prefix}{name}", *(f"{name} ({n})" for n in range(2, len(taken) + 3))]
    unique = next(x for x in names if x not in taken)
    taken.add(unique)
    return unique


def _tensors(arguments: Any) -> Iterator[Any]:
    return (x for x in keras.tree.flatten(arguments) if keras.backend.is_keras_tensor(x))


def _copy(operation: Any, dtype: str, **changes: Any) -> Any:
    """A layer or operation of the same configuration that computes in another float type."""
    config = {**operation.get_config(), **changes}
    return type(operation).from_config(config if dtype == FLOAT32 else _with_dtype(config, dtype))


def _with_dtype(config: Any, dtype: str) -> Any:
    """Replaces each `dtype` in a configuration, at any depth."""
    if isinstance(config, dict):
        changed = {key: _with_dtype(x, dtype) for key, x in config.items()}
        return changed | ({"dtype": dtype} if "dtype" in config else {})
    if isinstance(config, list | tuple):
        return type(config)(_with_dtype(x, dtype) for x in config)
    return config
