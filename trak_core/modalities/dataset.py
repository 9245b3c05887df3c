"""The one shape in which data reaches the rest of the program."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidSettingError
from trak_core.inputs import ArrayInputs, count, leaves, take
from trak_core.media import Medium, media_of, split_media
from trak_core.modalities.encoding import Encoding, Learner
from trak_core.modalities.raw import RawData, RawSplit
from trak_core.modalities.registry import find_modality


@dataclass(frozen=True)
class Split:
    """The examples of one split, in the order that gives each its `idx`."""

    # as the model takes them: an array `[n, ...]`, a tuple or a dict of such; float32, or int64 for ids
    inputs: ArrayInputs
    labels: NDArray[Any]  # int64 `[n]` from 0 to `n_classes - 1`; floats where there are no classes
    # PNG or WebP bytes of the first picture of each example; None where they have none
    thumbnails: list[bytes] | None = None
    texts: list[str] | None = None  # the first text of each example; None where they have none
    # what each example shows besides these two; None where it is nothing
    further: list[tuple[Medium, ...]] | None = None
    # where each example comes from, such as the name of its source; None where nothing tells
    origins: list[str] | None = None

    @classmethod
    def of(
        cls,
        inputs: ArrayInputs,
        labels: NDArray[Any],
        media: Sequence[Sequence[Medium]],
        origins: list[str] | None = None,
    ) -> Split:
        """The split whose examples show these media.

        Raises:
            InvalidSettingError: some examples have a picture or a text and others have none.
        """
        parts = [split_media(each) for each in media]
        thumbnails = [picture for picture, _, _ in parts if picture is not None]
        texts = [text for _, text, _ in parts if text is not None]
        for what, found in (("picture", thumbnails), ("text", texts)):
            if found and len(found) != len(parts):
                raise InvalidSettingError(
                    f"{len(found):,} of {len(parts):,} examples have a {what}; give each of them one, or none any."
                )
        further = [more for _, _, more in parts]
        return cls(inputs, labels, thumbnails or None, texts or None, further if any(further) else None, origins)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def media(self) -> list[tuple[Medium, ...]]:
        """What each example shows: its picture, its text, then the further media."""
        nothing = [None] * len(self)
        further = self.further or [()] * len(self)
        return [*map(media_of, self.thumbnails or nothing, self.texts or nothing, further)]

    def take(self, rows: slice | NDArray[np.int64]) -> Split:
        """Some of the examples, in the order of the rows."""
        parts: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        return Split(**{name: take(part, rows) for name, part in parts.items() if part is not None})


@dataclass(frozen=True)
class Dataset:
    """A train split, a test split and the names of the classes.

    Raises:
        InvalidDataError: parts of the inputs differ in length.
        InvalidSettingError: a label is out of range or not finite, inputs and labels differ in number, or the modality
            is not known here.
    """

    name: str
    modality: str  # name of the modality of its examples
    class_names: tuple[str, ...]  # of the labels 0, 1, ...; empty where labels are no classes
    train: Split  # examples to train on
    test: Split  # examples to explain
    encoding: Encoding | None = None  # what turns new examples into inputs, where it is known

    def __post_init__(self) -> None:
        find_modality(self.modality)
        for split_name, split in (("train", self.train), ("test", self.test)):
            if (n_inputs := count(split.inputs)) != len(split.labels) or len(split) == 0:
                raise InvalidSettingError(
                    f"data set {self.name!r}: the {split_name} split has {n_inputs} inputs and "
                    f"{len(split.labels)} labels; give one label for each input and at least one example."
                )
            if self.class_names:
                self._check_classes(split_name, split.labels)
            else:
                self._check_numbers(split_name, split.labels)

    def _check_classes(self, split_name: str, labels: NDArray[Any]) -> None:
        bad = np.flatnonzero((labels < 0) | (labels >= len(self.class_names)))
        if len(bad):
            others = f" and {len(bad) - 1:,} more" if len(bad) > 1 else ""
            raise InvalidSettingError(
                f"data set {self.name!r}: {split_name} example {bad[0]}{others} has the label "
                f"{labels[bad[0]]}, but there are {len(self.class_names)} classes, 0 to "
                f"{len(self.class_names) - 1}; label it, or leave it out."
            )

    def _check_numbers(self, split_name: str, labels: NDArray[Any]) -> None:
        bad = np.flatnonzero(~np.isfinite(labels).reshape(len(labels), -1).all(axis=1))
        if len(bad):
            raise InvalidSettingError(
                f"data set {self.name!r}: {split_name} example {bad[0]} has the label {labels[bad[0]]}; give a finite "
                "number, or leave it out."
            )

    def fingerprint(self) -> str:
        """SHA-256 (hex) over the inputs, labels and class names of both splits."""
        digest = hashlib.sha256()

        def add(part: Any) -> None:
            digest.update(part if isinstance(part, bytes) else str(part).encode())
            digest.update(b"\0")

        add(self.class_names)
        for split in (self.train, self.test):
            if isinstance(split.inputs, dict):
                add(sorted(split.inputs))
            for array in (*leaves(split.inputs), split.labels):
                add(f"{array.dtype}{array.shape}")
                add(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def prepare(raw: RawData, takes: str | Learner | None = None) -> Dataset:
    """The data set that a model takes; what is measured for it is measured on the train examples alone.

    It takes a kind of encoding, as "pixels" for images, "vocabulary" or "word_ids" for texts; the tokenizer of a
    pretrained model; or the usual kind of the modality.

    Raises:
        EmptyDataError: the train examples hold nothing that an encoding could be learnt from.
        InvalidSettingError: the modality of the data is not known here.
        NeedNotMetError: there is no such kind of encoding for these examples.
    """
    modality = find_modality(raw.modality)
    learner: Learner = modality.encoding_class(takes) if isinstance(takes, str) else takes or modality.encodings[0]
    encoding = learner.learn(raw.train.contents, raw.name).settled(raw.settled)

    def split(part: RawSplit) -> Split:
        inputs = encoding.inputs(part.contents)
        followed = encoding.labels(inputs)
        labels = part.labels if followed is None else followed
        return Split.of(inputs, labels, modality.media(part.contents), part.origins)

    return Dataset(raw.name, raw.modality, raw.class_names, split(raw.train), split(raw.test), encoding)
