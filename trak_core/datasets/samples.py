"""A few examples with their labels, for people to see that what was read is what they meant."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.inputs import take
from trak_core.media import Medium, Picture, Text
from trak_core.modalities import RawData, RawSplit, find_modality
from trak_core.seeds import derive_seed

N_SAMPLES = 12
N_TEST = 4
"""Of these, where there are as many test examples."""
LETTERS = 1000
"""Of a text."""


@dataclass(frozen=True)
class Sample:
    """An example as it was read."""

    split: str  # "train" or "test"
    idx: int  # its number in the split
    label: int  # of its class
    origin: str  # the file or row that it came from; empty where nothing tells
    media: tuple[Medium, ...]  # what people see of it; of a long text its beginning

    def as_dict(self) -> dict[str, Any]:
        """In types that JSON has; pictures as base64."""
        media = [
            {"picture": base64.b64encode(one.content).decode(), "name": one.name}
            if isinstance(one, Picture)
            else {"text": one.text, "name": one.name}
            for one in self.media
        ]
        return {"split": self.split, "idx": self.idx, "label": self.label, "origin": self.origin, "media": media}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "Sample":
        """What `as_dict` gave; whatever is missing may raise anything."""
        media = tuple(
            Picture(base64.b64decode(one["picture"]), one["name"])
            if "picture" in one
            else Text(one["text"], one["name"])
            for one in told["media"]
        )
        return cls(told["split"], told["idx"], told["label"], told["origin"], media)


def samples_of(raw: RawData, seed: int) -> tuple[Sample, ...]:
    """Twelve examples, or all where there are fewer: train before test, classes in turns, drawn by the seed."""
    n_test = min(N_TEST, len(raw.test))
    n_train = min(N_SAMPLES - n_test, len(raw.train))
    n_test = min(N_SAMPLES - n_train, len(raw.test))
    order = np.random.default_rng(derive_seed(seed, "samples")).permutation(max(len(raw.class_names), 1))
    train = _drawn("train", raw, raw.train, n_train, order, seed)
    return (*train, *_drawn("test", raw, raw.test, n_test, np.roll(order, -n_train), seed))


def _drawn(name: str, raw: RawData, split: RawSplit, n: int, order: NDArray[np.int64], seed: int) -> tuple[Sample, ...]:
    """So many examples of a split, by their numbers, from the classes in that order and then from the first again."""
    turn = {int(label): place for place, label in enumerate(order)}
    seen: dict[int, int] = {}
    keys = []
    for idx in np.random.default_rng(derive_seed(seed, "samples", name)).permutation(len(split)).tolist():
        label = int(split.labels[idx])
        keys.append((seen.setdefault(label, 0), turn.get(label, 0), idx))
        seen[label] += 1
    rows = np.array(sorted(idx for _, _, idx in sorted(keys)[:n]), dtype=np.int64)
    media = find_modality(raw.modality).media(take(split.contents, rows)) if len(rows) else []
    return tuple(
        Sample(
            name, idx, int(split.labels[idx]), split.origins[idx] if split.origins else "", tuple(map(_short, shown))
        )
        for idx, shown in zip(rows.tolist(), media, strict=True)
    )


def _short(medium: Medium) -> Medium:
    return replace(medium, text=medium.text[:LETTERS], marks=()) if isinstance(medium, Text) else medium
