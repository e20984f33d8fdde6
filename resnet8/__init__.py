"""Post-training quantization of a CIFAR-10 ResNet8: the library behind `stages/`.

`from resnet8 import look` shows the layers of a model; see `resnet8.inside`.
"""

from typing import TYPE_CHECKING

import resnet8.core  # noqa: F401 (first, because PyTorch reads what it sets)

if TYPE_CHECKING:
    from resnet8.inside import look

__all__ = ["look"]


def __getattr__(name: str) -> object:
    """Imports `look`, and with it PyTorch, on demand: every stage imports this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from resnet8 import inside  # noqa: PLC0415

    return getattr(inside, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
