"""Ready models under one name each, with what they take and how they are trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from trak_core.modalities.encoding import Learner

if TYPE_CHECKING:  # torch takes seconds to import, and listing models needs none of it
    from torch import nn

__all__ = ["HowTrained", "ModelLibrary", "ReadyModel"]


@dataclass(frozen=True)
class HowTrained:
    """How a model is trained where there are examples enough.

    Attributes:
        epochs: passes over the train examples.
        batch_size: examples in a batch; small train sets get smaller ones.
        learning_rate: at the beginning.
        weight_decay: pull of every weight towards zero.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float


@dataclass(frozen=True)
class ReadyModel:
    """A model that trains on any data of its modality.

    Attributes:
        name: on the command line.
        title: for people, one clause.
        takes: kind of encoding that it takes; or what learns its encoding, for a model that brings its own tokenizer.
        make: gives a freshly initialised one, from the sizes that its encoding names and "n_classes".
        trained: how it is trained.
        weights: the file that training begins from; empty where it begins from fresh weights.
        sources: SHA-256 of what the model comes from besides its name: "code", "pretrained", "weights".
    """

    name: str
    title: str
    takes: str | Learner
    make: Callable[[Mapping[str, int]], nn.Module]
    trained: HowTrained
    weights: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)


class ModelLibrary(ABC):
    """Where models come from by name, as `torchvision:resnet18`.

    Attributes:
        prefix: before the colon.
        example: of what stands behind it, as "NAME".
        takes_weights: whether training may begin from a file of weights.
    """

    prefix: ClassVar[str]
    example: ClassVar[str] = "NAME"
    takes_weights: ClassVar[bool] = True

    @abstractmethod
    def find(self, name: str) -> ReadyModel:
        """The model of that name, without the prefix.

        Raises:
            InvalidSettingError: there is none, or the library is not here.
            NeedNotMetError: the model lacks something that it needs.
        """

    @abstractmethod
    def has(self, name: str) -> bool:
        """True when the model can be made here, as far as that can be told without running anything."""
