"""How a model wants its examples, and which texts it cannot take: found before anything long is computed."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from trak_core.errors import EmptyDataError, InvalidDataError, LabelError, OutOfMemoryError
from trak_core.modalities.text.positions import has_rotary_positions, positions_of
from trak_core.tasks import Inputs, Task
from trak_core.tasks.ragged import IGNORED, LABELS, MASK
from trak_core.tasks.tokens import IDS, n_words

if TYPE_CHECKING:
    from trak_core.subjects.batches import Batch

NUMBER = 4
"""Bytes of a number."""
OF_DECODER = (LABELS, "decoder_input_ids")


@dataclass(frozen=True)
class Reading:
    """What is done with every batch as it is read."""

    task: Task
    model: nn.Module | None = None  # that the examples are for; None where it is not known yet
    memory_budget: int | None = None  # bytes that one example may take at work; None for any

    @cached_property
    def taken(self) -> tuple[str, ...] | None:
        """Names of the inputs that the model takes, where it takes token ids by name; None where that is not known."""
        if self.model is None:
            return None
        adapted: Any = self.model
        inner = adapted.get_base_model() if hasattr(adapted, "get_base_model") else adapted
        names = tuple(inspect.signature(inner.forward).parameters)
        return names if IDS in names else None

    def arranged(self, inputs: Inputs, labels: Tensor | None) -> tuple[Inputs, Tensor | None]:
        """Inputs and labels as the task has them."""
        return self.task.arranged(inputs, labels)

    def check(self, batch: Batch, what: str, start: int) -> None:
        """Refuses texts that the model cannot take, of a batch whose first example has the number `start`.

        Raises:
            EmptyDataError: a text is empty.
            InvalidDataError: a text is longer than the model, or holds tokens that it does not have.
            LabelError: a label is no token of the model, or nothing of an example is asked about.
            OutOfMemoryError: what is made of a single text does not fit into the memory budget.
        """
        if batch.labels is not None:
            self.task.check_labels(batch.labels, f"{what} ", start)
            self._check_memory(batch.labels, what)
        if not isinstance(batch.inputs, dict) or not isinstance(ids := batch.inputs.get(IDS), Tensor) or ids.dim() != 2:
            return
        mask: Any = batch.inputs.get(MASK)
        is_empty = ids.new_full((len(ids),), ids.shape[1] == 0).bool() if mask is None else ~mask.bool().any(-1)
        if is_empty.any():
            number = start + int(is_empty.nonzero()[0, 0])
            raise EmptyDataError(f"{what} example {number} is an empty text, without tokens; leave it out.")
        of_decoder = {name: part for name in OF_DECODER if isinstance(part := batch.inputs.get(name), Tensor)}
        for name, part in ({IDS: ids} | of_decoder).items():
            if part.dim() == 2:
                self._check_length(name, part, what)
                self._check_words(name, part, what, start)

    def _check_length(self, name: str, part: Tensor, what: str) -> None:
        if self._longest is not None and part.shape[1] > self._longest:
            raise InvalidDataError(
                f"{what} {name!r} are {part.shape[1]:,} tokens long, but the model has {self._longest:,} positions"
                f"{self._beyond}; cut texts with tokenizer(texts, truncation=True, max_length={self._longest})."
            )

    def _check_memory(self, labels: Tensor, what: str) -> None:
        if self.model is None or self.memory_budget is None:
            return
        size = NUMBER * self.task.numbers_at_work(self.model, labels)
        if size > self.memory_budget:
            raise OutOfMemoryError(
                f"the logits of a single {what} text ({labels.shape[-1]:,} tokens by a vocabulary of "
                f"{self._n_words or 0:,}) and what is made of them take {size:,} bytes, more than memory_budget="
                f"{self.memory_budget:,}. Use shorter texts, or raise the budget to {4 * size:,}."
            )

    def _check_words(self, name: str, part: Tensor, what: str, start: int) -> None:
        if self._n_words is None or part.is_floating_point() or not part.numel():
            return
        wrong = (part >= self._n_words) | ((part < 0) & ((part != IGNORED) | (name != LABELS)))
        if wrong.any():
            row, place = wrong.nonzero()[0].tolist()
            kind = LabelError if name == LABELS else InvalidDataError
            raise kind(
                f"{what} example {start + row} has token {int(part[row, place])} in {name!r}, but the model has "
                f"{self._n_words:,} tokens, from 0; use the tokenizer that belongs to it."
            )

    @cached_property
    def _n_words(self) -> int | None:
        return n_words(self.model)

    @property
    def _beyond(self) -> str:
        if not has_rotary_positions(getattr(self.model, "config", None)):
            return ""
        return ", and has not learnt to read beyond them (set rope_scaling in its config where it has)"

    @cached_property
    def _longest(self) -> int | None:
        """Tokens of the longest text that the model has positions for; None where there is no such limit."""
        longest = positions_of(getattr(self.model, "config", None))
        if self.model is None or longest is None:
            return None
        # RoBERTa and its like count positions from behind that of padding.
        tables = (module for name, module in self.model.named_modules() if name.endswith("position_embeddings"))
        first = [table.padding_idx + 1 for table in tables if getattr(table, "padding_idx", None) is not None]
        return longest - max(first, default=0)
