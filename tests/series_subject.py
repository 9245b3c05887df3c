"""A subject file with a modality and a task of its own: rows of ids below 20, and a count that goes with each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import trak_core as tc
from trak_core.media import Medium, Text, first_text
from trak_core.modalities import (
    Encoding,
    Field,
    Modality,
    NewInput,
    NewInputReader,
    RawData,
    RawSplit,
    Type,
    prepare,
    register_modality,
)
from trak_core.tasks import Answer, Classification, Task, register_task
from trak_core.training import TrainingSettings

N_IDS, HAS_CLASSES = 20, True


@dataclass(frozen=True)
class Ids(Encoding):
    kind = "ids"

    @classmethod
    def learn(cls, contents: Any, source: str) -> "Ids":
        return cls()

    def inputs(self, contents: Any) -> NDArray[np.int64]:
        return np.asarray(contents, dtype=np.int64)


class NewSeries(NewInputReader):
    fields = (Field("series", (Type("Series", is_long=False),)),)
    invitation = "Type six ids"

    def read(self, given: Mapping[str, Any]) -> NewInput:
        row = [int(word) for word in given["series"].split()]
        return NewInput([row], (Text(given["series"]),))


class Series(Modality):
    name, noun, plural = "series", "series", "series"
    encodings = (Ids,)

    def media(self, contents: Any) -> list[tuple[Medium, ...]]:
        return [(Text(" ".join(map(str, row))),) for row in contents]

    def contents(self, media: Sequence[tuple[Medium, ...]], encoding: Encoding) -> Any:
        return [[int(word) for word in (first_text(one) or "").split()] for one in media]

    def new_inputs(self, encoding: Encoding) -> NewSeries:
        return NewSeries()


class Poisson(Task):
    name, modality = "poisson", "series"

    def model_output(self, outputs: Tensor, target: Tensor) -> Tensor:
        return outputs[..., 0]

    def out_to_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return target - outputs[..., 0].exp()

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return outputs[..., 0].exp() - target * outputs[..., 0]

    def answer(self, outputs: Tensor) -> Answer:
        return Answer(outputs[..., 0].exp())


class Embedded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.last = nn.Embedding(N_IDS, 4), nn.Linear(4, 2 if HAS_CLASSES else 1)

    def forward(self, ids: Tensor) -> Tensor:
        return self.last(torch.tanh(self.embedding(ids)).mean(1))


def split(n: int, draw: np.random.Generator) -> RawSplit:
    contents = draw.integers(0, N_IDS, (n, 6))
    is_high = contents.mean(1) > N_IDS / 2
    return RawSplit(contents, is_high.astype(np.int64) if HAS_CLASSES else 2 * is_high.astype(np.float32))


register_modality(Series)
register_task(Poisson)


def subject() -> tc.Subject:
    draw = np.random.default_rng(0)
    names = ("low", "high") if HAS_CLASSES else ()
    dataset = prepare(RawData("Series", "series", names, split(60, draw), split(30, draw)))
    settings = TrainingSettings(epochs=6, batch_size=20, learning_rate=0.1, momentum=0.9, weight_decay=0.01)
    task = Classification("series") if HAS_CLASSES else Poisson()
    return tc.Subject(name="series", dataset=dataset, make_model=Embedded, task=task, training=settings)
