"""Reads examples from wherever they are, in batches of one form and in an order that is held to.

Features are rows, and row i must mean example i in every pass: for every checkpoint, when work is resumed, and when a
run is saved. So the content of every block is fingerprinted as it goes by.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from trak_core.errors import EmptyDataError, InvalidDataError, LabelError, ShuffledDataError
from trak_core.inputs import count, take
from trak_core.subjects.reading import Reading
from trak_core.subjects.token_examples import TokenExamples, token_rows
from trak_core.tasks import Inputs
from trak_core.tasks.ragged import IGNORED, joined
from trak_core.tasks.tokens import IDS

DEFAULT_BATCH = 64
_RANDOM_SAMPLERS = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


@dataclass(frozen=True)
class Batch:
    """Some examples."""

    inputs: Inputs  # as the model takes them, each tensor `[n, ...]`
    labels: Tensor | None  # `[n]`, or None where nothing was said

    def __len__(self) -> int:
        return count(self.inputs)

    @property
    def bytes_an_example(self) -> int:
        """Memory that the inputs of one example take, at least 1."""
        leaves, _ = tree_flatten(self.inputs)
        total: int = sum(leaf.nbytes for leaf in leaves)
        return max(1, total // len(self))

    def part(self, start: int, stop: int) -> "Batch":
        """Examples `start` to `stop`."""
        where = slice(start, stop)
        return Batch(take(self.inputs, where), None if self.labels is None else self.labels[where])


@dataclass
class Block:
    """Neighbouring examples whose features are written together."""

    start: int  # number of the first example
    # its examples, in order; batches may differ in the length of their texts
    batches: list[Batch] = field(default_factory=list)
    digest: str = ""  # SHA-256 (hex) of the content, whatever the batches were

    def __len__(self) -> int:
        return sum(len(batch) for batch in self.batches)

    @property
    def labels(self) -> Tensor | None:
        """Labels of the block `[n, ...]`."""
        parts = [batch.labels for batch in self.batches if batch.labels is not None]
        if parts and len(parts) < len(self.batches):
            raise LabelError(
                f"of the examples {self.start} to {self.start + len(self) - 1} some have labels and some have none; "
                "give labels for all or for none."
            )
        return joined(parts, IGNORED) if parts else None


class Data:
    """Examples that can be read several times, always in the same order.

    The source is a DataLoader, an iterable of batches, or `(inputs, labels)` or tokenized texts, which are put into
    batches of `batch_size`; `what` is "train" or "test", for messages. `reading` says what the model wants, where it is
    known.
    """

    def __init__(
        self,
        source: Any,
        what: str,
        batch_size: int = DEFAULT_BATCH,
        reading: Reading | None = None,
    ) -> None:
        self.what, self._reading = what, reading
        if isinstance(source, DataLoader):
            _check_order(source, what)
        elif (rows := token_rows(source)) is not None:
            source = TokenExamples(rows, what, batch_size, None if reading is None else reading.taken)
        elif _is_arrays(source):
            whole = self._batch_of(source)
            source = [whole.part(start, start + batch_size) for start in range(0, len(whole), batch_size)]
        elif not isinstance(source, Iterable):
            raise InvalidDataError(
                f"{what} is a {type(source).__name__}; give a DataLoader, an iterable of batches (inputs, labels), or "
                "(inputs, labels) as numpy arrays or torch tensors."
            )
        self._source: Iterable[Any] = source
        # False for what can be read once only, such as a generator. Every iter() of a loader with workers starts them.
        self.can_repeat = isinstance(source, DataLoader | list | tuple) or iter(source) is not source

    @property
    def n_examples(self) -> int | None:
        """Number of examples; None where only reading tells."""
        if isinstance(self._source, DataLoader):
            sampler, dataset = self._source.sampler, self._source.dataset
            plain = type(self._source.batch_sampler) is BatchSampler and isinstance(sampler, SequentialSampler)
            if plain and hasattr(dataset, "__len__") and not self._source.drop_last:
                return len(dataset)
        if isinstance(self._source, list | tuple):
            return sum(len(self._batch_of(item)) for item in self._source)
        return self._source.n_examples if isinstance(self._source, TokenExamples) else None

    def batches(self) -> Iterator[Batch]:
        """All examples in order.

        Raises:
            EmptyDataError: there are none.
            InvalidDataError: a batch has no form that can be read, or the model cannot take it.
        """
        n_read = 0
        for item in self._items():
            batch = self._batch_of(item)
            if len(batch):
                if self._reading is not None:
                    self._reading.check(batch, self.what, n_read)
                n_read += len(batch)
                yield batch
        if not n_read:
            raise EmptyDataError(f"{self.what} holds no examples; give at least one.")

    def _items(self) -> Iterator[Any]:
        """What the source gives; an error of a DataLoader that cannot make batches says how it could."""
        try:
            yield from self._source
        except RuntimeError as error:
            if "equal size" not in str(error):
                raise
            raise InvalidDataError(
                f"the {self.what} loader makes no batches of examples of different lengths ({error}); give it a "
                "collate_fn, such as transformers.DataCollatorWithPadding(tokenizer), or give the data set itself."
            ) from error

    def _batch_of(self, item: Any) -> Batch:
        """A batch from what the source gives, as the task has it."""
        if isinstance(item, Batch):
            return item
        batch = _batch_of(item, self.what)
        return batch if self._reading is None else Batch(*self._reading.arranged(batch.inputs, batch.labels))

    def first(self) -> Batch:
        """The first batch.

        Raises:
            ShuffledDataError: it is another one when it is read again.
        """
        if not self.can_repeat:
            # What was read of a source that cannot repeat is put back in front of it.
            rest = self.batches()
            batch = next(rest)
            self._source = itertools.chain([batch], rest)
            return batch
        batch, again = next(self.batches()), next(self.batches())
        if _digest([batch]) != _digest([again]):
            raise self.shuffled("its first batch is another one when it is read again")
        return batch

    def read_through(self) -> None:
        """Reads texts once, so that one that the model cannot take is found at once; errors as in `batches`."""
        if self.can_repeat and isinstance(inputs := self.first().inputs, dict) and IDS in inputs:
            for _ in self.batches():
                pass

    def shuffled(self, how: str) -> ShuffledDataError:
        """The error for an order that does not hold."""
        return ShuffledDataError(
            f"{self.what} does not come in one order: {how}, so features would belong to other examples than their "
            "rows say. Use shuffle=False and no random augmentation."
        )

    def blocks(self, size: int) -> Iterator[Block]:
        """Blocks of `size` examples, the last one shorter; their borders do not depend on the batches."""
        block = Block(0)
        for batch in self.batches():
            at = 0
            while at < len(batch):
                stop = min(len(batch), at + size - len(block))
                block.batches.append(batch.part(at, stop))
                at = stop
                if len(block) == size:
                    block.digest = _digest(block.batches)
                    yield block
                    block = Block(block.start + size)
        if block.batches:
            block.digest = _digest(block.batches)
            yield block


def read_data(
    source: Any,
    what: str,
    batch_size: int | None = None,
    reading: Reading | None = None,
) -> Data:
    """The examples of a source; arguments are those of `Data`, `batch_size` the usual one when None."""
    return source if isinstance(source, Data) else Data(source, what, batch_size or DEFAULT_BATCH, reading)


def _check_order(loader: "DataLoader[Any]", what: str) -> None:
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    if isinstance(sampler, _RANDOM_SAMPLERS):
        raise ShuffledDataError(
            f"the {what} loader draws its examples by a {type(sampler).__name__}, so features would belong to other "
            "examples than their rows say. Make it with shuffle=False."
        )


def _is_arrays(source: Any) -> bool:
    """True for `(inputs, labels)` as against a sequence of batches."""
    if isinstance(source, Tensor | np.ndarray | Mapping):
        return True
    if _named(source) is not None:
        return not isinstance(source, Iterable)  # a data set may be a dataclass too
    if not isinstance(source, tuple) or len(source) < 2:
        return False
    labels = source[-1]
    is_numbers = isinstance(labels, list) and all(isinstance(value, int | float) for value in labels)
    is_labels = labels is None or isinstance(labels, Tensor | np.ndarray) or is_numbers
    return is_labels and all(_is_inputs(part) for part in source[:-1])


def _is_inputs(value: Any) -> bool:
    """True for a tensor or array `[n, ...]`, and for what holds some by name or in order."""
    if isinstance(value, Tensor | np.ndarray):
        return value.ndim > 0
    if isinstance(value, list | tuple):
        return bool(value) and all(_is_inputs(part) for part in value)
    return _named(value) is not None


def _named(value: Any) -> dict[str, Any] | None:
    """What a mapping or dataclass holds by name, as tokenizers, models and loaders give them; None for others."""
    if isinstance(value, Mapping):
        named = dict(value)
    elif is_dataclass(value) and not isinstance(value, type):
        named = {each.name: getattr(value, each.name) for each in fields(value)}
    else:
        return None
    return {key: part for key, part in named.items() if part is not None}


def _batch_of(item: Any, what: str) -> Batch:
    """A batch from what loaders give: `(inputs, labels)`, `(input, input, labels)`, or names with labels among them."""
    labels: Any = None
    names = getattr(item, "_fields", ())  # of a named tuple, which may have its labels anywhere
    if label := next((name for name in ("labels", "label") if name in names), None):
        item = (*(part for name, part in zip(names, item, strict=True) if name != label), getattr(item, label))
    if isinstance(item, tuple | list) and item:
        # What a TensorDataset of inputs alone gives has one part and no labels.
        *parts, labels = item if len(item) > 1 else (*item, None)
        inputs = parts[0] if len(parts) == 1 else tuple(parts)
    elif isinstance(item, Tensor | np.ndarray) or _named(item) is not None:
        inputs = item
    else:
        texts = " Texts go in as the ids of a tokenizer: tokenizer(texts)." if isinstance(item, str) else ""
        raise InvalidDataError(
            f"a {what} batch is a {type(item).__name__}; it must be (inputs, labels), or a dict with the key labels."
            f"{texts}"
        )
    if labels is None and (named := _named(inputs)) is not None:
        inputs = {key: part for key, part in named.items() if key not in ("labels", "label")}
        labels = named.get("labels", named.get("label"))
    inputs = _inputs(inputs, f"{what} inputs")
    if labels is not None:
        labels = _numbers(labels, f"{what} labels")
        labels = labels if labels.is_floating_point() else labels.long()
    n = count(inputs)
    if labels is not None and labels.shape[:1] != (n,):
        raise LabelError(
            f"a {what} batch has {n} inputs and labels of shape {tuple(labels.shape)}; give one label for each input."
        )
    return Batch(inputs, labels)


def _inputs(value: Any, what: str) -> Any:
    """Inputs as models take them: a tensor, or a tuple or dict of such, whatever held them before."""
    if (named := _named(value)) is not None:
        return {key: _inputs(part, f"{what} {key!r}") for key, part in named.items()}
    if isinstance(value, list | tuple) and _is_inputs(value):
        return tuple(_inputs(part, what) for part in value)  # a DataLoader makes lists of tuples
    return _numbers(value, what)


def _numbers(values: Any, what: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        texts = " (texts as the ids that a tokenizer makes of them)" if array.dtype.kind in "UT" else ""
        raise InvalidDataError(f"{what} are of type {array.dtype}; give numbers{texts}, or leave them out.")
    # A loaded file may be read-only or byte-swapped, which torch cannot share.
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def _digest(batches: list[Batch]) -> str:
    """SHA-256 of the examples' content, the same however they are cut into batches."""
    digests: list[Any] = []
    shapes: list[torch.Size] = []
    for batch in batches:
        leaves, _ = tree_flatten((batch.inputs, batch.labels))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if digests and len(tensors) != len(digests):
            raise LabelError("some batches have labels and some have none, or inputs differ; make all of one form.")
        if not digests:
            digests = [hashlib.sha256(f"{leaf.dtype}{tuple(leaf.shape[1:])}".encode()) for leaf in tensors]
            shapes = [leaf.shape[1:] for leaf in tensors]
        for digest, shape, leaf in zip(digests, shapes, tensors, strict=True):
            # Texts of another length say so each by itself, wherever their batch is cut.
            for rows in [leaf] if leaf.shape[1:] == shape else leaf:
                digest.update(b"" if rows is leaf else f"{tuple(rows.shape)}".encode())
                digest.update(rows.cpu().contiguous().view(torch.uint8).numpy().data if rows.numel() else b"")
    return hashlib.sha256("".join(digest.hexdigest() for digest in digests).encode()).hexdigest()
