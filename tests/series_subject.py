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
draw, names = np.random.default_rng(0), ("low", "high") if HAS_CLASSES else ()
dataset = prepare(RawData("Series", "series", names, split(60, draw), split(30, draw)))
task = Classification("series") if HAS_CLASSES else Poisson()


def train_model(indices: NDArray[np.int64], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = Embedded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for _ in range(20):
        optimizer.zero_grad()
        outputs = model(torch.from_numpy(dataset.train.inputs[indices]))
        task.loss(outputs, torch.from_numpy(dataset.train.labels[indices])).mean().backward()
        optimizer.step()
    return model


subject = tc.Subject(name="series", dataset=dataset, make_model=Embedded, task=task, train_model=train_model)
