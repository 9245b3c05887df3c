"""Ready models under one name each, with what they take and how they are trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from trak_core.modalities.encoding import Learner

if TYPE_CHECKING:  # torch takes seconds to import, and listing models needs none of it
    from torch import nn


@dataclass(frozen=True)
class HowTrained:
    """How a model is trained where there are examples enough."""

    epochs: int  # passes over the train examples
    batch_size: int  # examples in a batch; small train sets get smaller ones
    learning_rate: float  # at the beginning
    weight_decay: float  # pull of every weight towards zero


@dataclass(frozen=True)
class ReadyModel:
    """A model that trains on any data of its modality."""

    name: str  # on the command line
    title: str  # for people, one clause
    # kind of encoding that it takes; or what learns its encoding, for a model that brings its own tokenizer
    takes: str | Learner
    # gives a freshly initialised one, from the sizes that its encoding names and "n_classes"
    make: Callable[[Mapping[str, int]], nn.Module]
    trained: HowTrained  # how it is trained
    weights: str = ""  # the file that training begins from; empty where it begins from fresh weights
    task: str = ""  # name of its task, and it is fine-tuned by AdamW; empty for a classifier that SGD trains
    # SHA-256 of what the model comes from besides its name: "code", "pretrained", "weights"
    sources: Mapping[str, str] = field(default_factory=dict)


class ModelLibrary(ABC):
    """Where models come from by name, as `torchvision:resnet18`."""

    prefix: ClassVar[str]  # before the colon
    example: ClassVar[str] = "NAME"  # of what stands behind it, as "NAME"
    takes_weights: ClassVar[bool] = True  # whether training may begin from a file of weights
    has_adapters: ClassVar[bool] = False  # whether `NAME?lora=8` trains adapters of that rank in place of the model

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
