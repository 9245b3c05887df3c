"""Ready models under one name each, with what they take and how they are trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trak_core.datasets import Encoding

if TYPE_CHECKING:  # torch takes seconds to import, and listing models needs none of it
    from torch import nn

    from trak_core.training import TrainingSettings

__all__ = ["READY_MODELS", "ReadyModel", "find_model"]

@dataclass(frozen=True)
class ReadyModel:
    """A model that trains on any data of its kind.

    Attributes:
        name: on the command line.
        title: for people, one clause.
        encoding: what it takes.
        make: gives a freshly initialised one for inputs of a shape (without the number of examples) and a number of
            classes.
        settings: how it is trained on a number of examples.
    """

    name: str
    title: str
    encoding: Encoding
    make: Callable[[tuple[int, ...], int], nn.Module]
    settings: Callable[[int], TrainingSettings]


def find_model(name: str, encodings: tuple[Encoding, ...]) -> ReadyModel:
    """The ready model of that name that takes one of some encodings.

    Raises:
        InvalidSettingError: there is none; the message lists those that there are.
    """
    fitting = {model.name: model for model in READY_MODELS.values() if model.encoding in encodings}
    if name not in fitting:
        kind = "images" if "pixels" in encodings else "texts"
        raise InvalidSettingError(f"model={name!r}; for {kind} it must be one of: {', '.join(fitting)}.")
    return fitting[name]


def _mlp(shape: tuple[int, ...], n_classes: int) -> nn.Module:
    from trak_core.models.images import small_mlp

    return small_mlp(math.prod(shape), n_classes)


def _cnn(shape: tuple[int, ...], n_classes: int) -> nn.Module:
    from trak_core.models.images import CompactCnn

    return CompactCnn(shape[0], n_classes)


def _resnet9(shape: tuple[int, ...], n_classes: int) -> nn.Module:
    from trak_core.models.images import ResNet9

    return ResNet9(shape[0], n_classes)


def _words(shape: tuple[int, ...], n_classes: int) -> nn.Module:
    from trak_core.models.texts import words_mlp

    return words_mlp(shape[0], n_classes)


def _training(epochs: int, batch_size: int, learning_rate: float, weight_decay: float) -> Callable[[int], TrainingSettings]:
    def settings(n_train: int) -> TrainingSettings:
        from trak_core.training import TrainingSettings

        # A half of the train set, and four fifths of it, have to fill a batch.
        return TrainingSettings(epochs, max(1, min(batch_size, n_train // 4)), learning_rate, MOMENTUM, weight_decay)

    return settings
