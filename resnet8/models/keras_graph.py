"""Keras models as one flat graph: nested models inlined, operations outside of layers as layers."""

import re
from collections.abc import Collection
from functools import partial
from typing import Any, NamedTuple

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.models.faults import refused
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
        """The calls of the layers whose tokens occur in texts, in the order of the tokens."""
        tokens = dict.fromkeys(token for text in texts for token in _TOKEN.findall(text))
        return [call for token in tokens for call in self.calls if call.layer.name == token]


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

    def call(prefix: str, operation: Any, *args: Any, **kwargs: Any) -> Any:
        if (graph := _graph(operation)) is not None:
            return graph._run_through_graph(args, call_fn=partial(call, f"{operation.name}/"))
        name, kind = _unique(prefix, operation.name, calls), type(operation).__name__
        token = f"keraslayer{len(calls):04d}"
        kwargs.pop("training", None)  # is chosen when the model is run
        with refused(
            f"Layer {name} ({kind}) must be one that its configuration describes in full",
            "Replace the layer by others that compute the same.",
        ):
            if isinstance(operation, keras.Layer):
                if id(operation) not in copies:
                    copies[id(operation)] = _copy(operation, dtype, name=token)
                layer = copies[id(operation)]
                outputs = layer(*args, **kwargs)
                layer.set_weights(operation.get_weights())
            else:
                layer, tensors = _as_layer(_copy(operation, dtype), args, kwargs, token, dtype)
                args, kwargs = (tensors,), {}
                outputs = layer(tensors)
        calls.append(Call(name, kind, layer, (args, kwargs), keras.tree.flatten(outputs)[0]))
        return outputs

    inputs = keras.Input(IMAGE_SHAPE, dtype=dtype)
    outputs = _graph(model)._run_through_graph([inputs], call_fn=partial(call, ""))
    return FlatModel(keras.Model(inputs, keras.tree.flatten(outputs)), calls)


def _graph(operation: Any) -> Any:
    """The graph of layers of a model; None for layers and operations."""
    if isinstance(operation, keras.Sequential):
        return operation._functional
    return operation if isinstance(operation, keras.Model) else None


def _as_layer(
    operation: Any, args: Any, kwargs: Any, name: str, dtype: str
) -> tuple[keras.Layer, list[Any]]:
    """An operation outside of layers, such as `x - mean`, as a layer of a list of its tensors."""
    is_tensor = keras.backend.is_keras_tensor

    def compute(tensors: list[Any]) -> Any:
        remaining = iter(tensors)
        positional, named = keras.tree.map_structure(
            lambda x: next(remaining) if is_tensor(x) else x, (args, kwargs)
        )
        return operation(*positional, **named)

    tensors = [x for x in keras.tree.flatten((args, kwargs)) if is_tensor(x)]
    return keras.layers.Lambda(compute, name=name, dtype=dtype, autocast=False), tensors


def _unique(prefix: str, name: str, calls: Collection[Call]) -> str:
    """Returns a printable name that no earlier call has; see `Call`."""
    prefix, name = _printable(prefix), _printable(name)
    names = [name, f"{prefix}{name}", *(f"{name} ({n})" for n in range(2, len(calls) + 3))]
    taken = {call.name for call in calls}
    return next(x for x in names if x not in taken)


def _printable(name: str) -> str:
    return "".join(x if x.isprintable() else "_" for x in name)


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
