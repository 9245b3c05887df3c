"""What is different between images, texts and other examples: all of it behind one class.

A modality has contents: the examples of a split as they are before a model's encoding, such as uint8 pixels or a list
of strings. From contents come the media that people see and, through an encoding, the inputs of a model; from the media
in a run come the contents again.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import NeedNotMetError
from trak_core.inputs import ArrayInputs, all_zero, flat_rows, leaves
from trak_core.media import Medium, texts_of
from trak_core.modalities.amounts import amounts
from trak_core.modalities.encoding import Encoding, plain_words
from trak_core.modalities.new_input import NewInputReader
from trak_core.modalities.ready_model import ModelLibrary, ReadyModel


class Modality(ABC):
    """One kind of example. A subclass says what differs; the defaults are those of plain numbers."""

    name: ClassVar[str]  # its word in settings and stores, such as "image"
    noun: ClassVar[str]  # what people call one example, such as "image"
    plural: ClassVar[str]  # of the noun
    encodings: ClassVar[tuple[type[Encoding], ...]] = ()  # that its inputs may have; the first is the usual one
    models: ClassVar[tuple[ReadyModel, ...]] = ()  # ready ones for such examples, the usual one first
    libraries: ClassVar[tuple[ModelLibrary, ...]] = ()  # where further models come from by name
    has_words: ClassVar[bool] = True  # whether texts among its media are made of words

    @abstractmethod
    def media(self, contents: Any) -> list[tuple[Medium, ...]]:
        """What people see of each example, without loss: `contents` makes the contents of it again.

        A run gives back the first picture, the first text, then the others in their order, and no name of the first
        two: let pictures come before texts.

        Args:
            contents: of `n` examples.
        """

    @abstractmethod
    def contents(self, media: Sequence[tuple[Medium, ...]], encoding: Encoding) -> Any:
        """The contents of examples that a run holds, exactly as they were; the inverse of `media`.

        Args:
            media: of each example, from the run.
            encoding: of the run.

        Raises:
            InvalidDataError: the media are not such as `media` makes.
        """

    def new_inputs(self, encoding: Encoding) -> NewInputReader | None:
        """How somebody gives a new example for a run with this encoding; None where that cannot be done."""
        return None

    def from_python(self, given: Any) -> Any | None:
        """The contents in what somebody gave to `Run.attribute`, where it is no inputs yet; None where it may be.

        Texts are contents when they come as strings; arrays are taken for inputs.

        Raises:
            InvalidDataError: it is mixed.
        """
        return None

    def seen_in(self, inputs: Any) -> list[tuple[Medium, ...]] | None:
        """What inputs look like that somebody brought without media; None where they do not look like this modality.

        Args:
            inputs: arrays or tensors on the CPU, `[n, ...]` each.
        """
        return None

    def keys(self, contents: Any) -> Iterator[bytes]:
        """For each example what two share exactly if they count as the same: a digest of its bytes by default."""
        arrays = [np.asarray(leaf) for leaf in leaves(contents)]
        for example in zip(*arrays, strict=True):
            yield hashlib.sha256(b"\0".join(np.ascontiguousarray(part).tobytes() for part in example)).digest()

    def sizes(self, train: Any, test: Any) -> str:
        """How large the examples are, in a sentence for the report on data; empty where there is nothing to say.

        Args:
            train: contents of the train examples.
            test: contents of the test examples.
        """
        return ""

    def compared(self, inputs: ArrayInputs) -> NDArray[Any]:
        """Rows `[n, d]` of inputs in which near-duplicates are close: all numbers of an example by default."""
        return flat_rows(inputs)  # type: ignore[no-any-return]

    def empty(self, inputs: ArrayInputs, encoding: Encoding | None) -> NDArray[np.bool_]:
        """Which inputs hold nothing that a model could go by, bool `[n]`: nothing but zeros, or what the encoding says.

        Args:
            inputs: of some examples, all of one split.
            encoding: that made them, where it is known.
        """
        return all_zero(inputs) if encoding is None else encoding.empty(inputs)

    def amount(self, media: Sequence[tuple[Medium, ...]]) -> NDArray[np.float64]:
        """How much each example holds, a number `[n]`: the length of its texts by default, or the ink of its pictures.

        Args:
            media: of each example, as `media` makes them.
        """
        return amounts(media)

    def words(
        self, train: Sequence[tuple[Medium, ...]], test: Sequence[tuple[Medium, ...]]
    ) -> tuple[list[list[str]], list[list[str]]]:
        """The words of each example of both splits in their order, for rules that compare words.

        Asked for where `has_words` and the examples have texts; by default runs of letters and digits.

        Args:
            train: media of the train examples, as `media` makes them.
            test: media of the test examples.
        """
        train_words, test_words = (
            [[word for text in texts_of(one) for _, _, word in plain_words(text)] for one in part]
            for part in (train, test)
        )
        return train_words, test_words

    def linear_rows(self, train: ArrayInputs, test: ArrayInputs) -> tuple[Any, Any]:
        """Rows `[n, d]` of both splits for a linear model on the same inputs; all their numbers by default.

        Columns of dense rows are standardised before anything is fitted; `scipy.sparse` rows are taken as they are.
        """
        return flat_rows(train), flat_rows(test)

    def usual_model(self, contents: Any) -> str:
        """The name of the ready model that usually suits such examples.

        Args:
            contents: of the train examples.

        Raises:
            NeedNotMetError: it has no ready models.
        """
        if not self.models and self.libraries:
            known = " or ".join(f"{library.prefix}:{library.example}" for library in self.libraries)
            raise NeedNotMetError(
                f"no model is there for {self.plural} by itself; give model={known}, a folder of your own."
            )
        if not self.models:
            raise NeedNotMetError(
                f"no ready model takes {self.plural}; give your own as module:function, or build from Python with a "
                "recipe."
            )
        return self.models[0].name

    def encoding_class(self, kind: str) -> type[Encoding]:
        """The class of encodings of that kind.

        Raises:
            NeedNotMetError: the modality has none of that kind.
        """
        for encoding in self.encodings:
            if encoding.kind == kind:
                return encoding
        kinds = ", ".join(encoding.kind for encoding in self.encodings) or "none"
        raise NeedNotMetError(f"{self.plural} have no encoding {kind!r}; there are: {kinds}.")
