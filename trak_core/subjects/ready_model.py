"""Ready models under one name each, with what they take and how they are trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trak_core.datasets import Encoding, Tokenizer

if TYPE_CHECKING:  # torch takes seconds to import, and listing models needs none of it
    from torch import nn

    from trak_core.training import TrainingSettings

__all__ = ["READY_MODELS", "ReadyModel", "trained"]

MOMENTUM = 0.9


@dataclass(frozen=True)
class ReadyModel:
    """A model that trains on any data of its kind.

    Attributes:
        name: on the command line.
        title: for people, one clause.
        encoding: what it takes; the tokenizer that makes it, for a model that brings its own.
        make: gives a freshly initialised one, from the shape of an input, the number of different tokens (0 where it
            takes none) and the number of classes.
        settings: how it is trained on so many examples.
        weights: the file that training begins from; empty where it begins from fresh weights.
        sources: SHA-256 of what the model comes from besides its name: "code", "pretrained", "weights".
    """

    name: str
    title: str
    encoding: Encoding | Tokenizer
    make: Callable[[tuple[int, ...], int, int], nn.Module]
    settings: Callable[[int], TrainingSettings]
    weights: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_ready(self) -> bool:
        """True for a model that is known to train here; any other has to be tried first."""
        return self.name in READY_MODELS and not self.weights


def _mlp(shape: tuple[int, ...], n_tokens: int, n_classes: int) -> nn.Module:
    from trak_core.models.images import small_mlp

    return small_mlp(math.prod(shape), n_classes)


def _cnn(shape: tuple[int, ...], n_tokens: int, n_classes: int) -> nn.Module:
    from trak_core.models.images import CompactCnn

    return CompactCnn(shape[0], n_classes)


def _resnet9(shape: tuple[int, ...], n_tokens: int, n_classes: int) -> nn.Module:
    from trak_core.models.images import ResNet9

    return ResNet9(shape[0], n_classes)


def _words(shape: tuple[int, ...], n_tokens: int, n_classes: int) -> nn.Module:
    from trak_core.models.texts import words_mlp

    return words_mlp(shape[0], n_classes)


def _transformer(shape: tuple[int, ...], n_tokens: int, n_classes: int) -> nn.Module:
    from trak_core.models.texts import SmallTransformer

    return SmallTransformer(n_tokens, shape[0], n_classes)


def trained(
    epochs: int, batch_size: int, learning_rate: float, weight_decay: float
) -> Callable[[int], TrainingSettings]:
    """Settings by the number of train examples."""

    def settings(n_train: int) -> TrainingSettings:
        from trak_core.training import TrainingSettings

        # Small train sets: half of one still has to fill a batch, twice at least.
        batch = max(1, min(batch_size, n_train // 4))
        return TrainingSettings(epochs, batch, learning_rate, MOMENTUM, weight_decay)

    return settings


READY_MODELS = {
    model.name: model
    for model in (
        ReadyModel("mlp", "one hidden layer", "pixels", _mlp, trained(20, 100, 0.05, 0.002)),
        ReadyModel("cnn", "two convolutions", "pixels", _cnn, trained(12, 50, 0.05, 0.002)),
        ReadyModel(
            "resnet9",
            "a residual network of nine layers, for a GPU",
            "pixels",
            _resnet9,
            trained(16, 128, 0.05, 0.0005),
        ),
        ReadyModel("words", "weighted words, one hidden layer", "words", _words, trained(20, 64, 0.3, 0.002)),
        ReadyModel("transformer", "a transformer of two layers", "tokens", _transformer, trained(10, 32, 0.1, 0.001)),
    )
}
