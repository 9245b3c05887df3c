"""`Run.attribute`: checks what is given, keeps the scorers of the runs looked at, and scores."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.datasets import Pixels, Tokens
from trak_core.errors import EmptyDataError, InvalidDataError, LabelError, NeedNotMetError, ShapeMismatchError
from trak_core.live import LIVE_METHOD
from trak_core.live.scorer import LiveScorer, prepare_scorer
from trak_core.store.run import Run

__all__ = ["attribute_inputs", "encode_inputs", "live_scorer"]

N_KEPT = 2
"""Scorers in memory; the one used longest ago goes first."""

_Key = tuple[str, tuple[int, int, int] | None]
_scorers: OrderedDict[_Key, LiveScorer] = OrderedDict()
_being_prepared: dict[_Key, threading.Lock] = {}
_lock = threading.Lock()


def live_scorer(run: Run) -> LiveScorer:
    """The scorer of a run's published generation; prepared by the first who asks, shared by all others.

    Raises:
        NeedNotMetError: the run has no recipe, no checkpoints or no stored features.
        RunMismatchError: the data or a checkpoint is not what the run was made with.
    """
    key = (str(run.path.resolve()), run.generation)
    with _lock:
        turn = _being_prepared.setdefault(key, threading.Lock())
    with turn:
        with _lock:
            if key in _scorers:
                _scorers.move_to_end(key)
                return _scorers[key]
        scorer = prepare_scorer(run)
        with _lock:
            for old in [other for other in _scorers if other[0] == key[0]]:
                del _scorers[old]  # of a generation that was replaced
            _scorers[key] = scorer
            while len(_scorers) > N_KEPT:
                _being_prepared.pop(_scorers.popitem(last=False)[0], None)
        return scorer


def attribute_inputs(run: Run, inputs: Any, labels: Any = None, method: str = LIVE_METHOD) -> NDArray[np.float32]:
    """Scores `[m, n_train]` float32 of new inputs; see `Run.attribute`."""
    if run.check_method(method) != LIVE_METHOD:
        raise NeedNotMetError(
            f"method {method!r} cannot score new inputs, only {LIVE_METHOD!r} can; leave out `method`."
        )
    scorer = live_scorer(run)
    encoded = encode_inputs(scorer, inputs)
    if labels is None:
        targets = scorer.says(encoded).value
    else:
        targets = _check_labels(labels, len(encoded), len(run.info.class_names))
    return scorer.attribute(encoded, targets)


def encode_inputs(scorer: LiveScorer, inputs: Any) -> Tensor:
    """Inputs `[m, ...]` as the model takes them, float32 or the int64 numbers of words; texts are encoded as the run's.

    Raises:
        EmptyDataError: there are none.
        ShapeMismatchError: they have another shape than the inputs of the run.
        InvalidDataError: they are no numbers, or not finite.
    """
    if isinstance(inputs, str) or (isinstance(inputs, Sequence) and any(isinstance(each, str) for each in inputs)):
        return _encode_texts(scorer, [inputs] if isinstance(inputs, str) else list(inputs))
    try:
        given = inputs.detach().cpu() if isinstance(inputs, Tensor) else inputs
        array = np.ascontiguousarray(np.asarray(given), dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidDataError(
            f"inputs are no array of numbers ({error}); give an array [m, {_shape(scorer)}]."
        ) from error
    if array.ndim == 0 or array.shape[1:] != scorer.input_shape:
        raise ShapeMismatchError(
            f"inputs have shape {list(array.shape)}, and this run takes [m, {_shape(scorer)}]; give one row for each "
            "input, prepared as the train inputs are."
        )
    if not len(array):
        raise EmptyDataError("there are no inputs to score; give at least one.")
    if not np.isfinite(array).all():
        place = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(1))[0])
        raise InvalidDataError(f"input {place} has a NaN or infinite number; mend or leave it out.")
    return torch.from_numpy(array) if scorer.input_dtype == torch.float32 else _numbers_of_words(scorer, array)


def _numbers_of_words(scorer: LiveScorer, array: NDArray[np.float32]) -> Tensor:
    highest = scorer.encoding.n_tokens - 1 if isinstance(scorer.encoding, Tokens) else 2**24  # float32 holds no more
    if (array != array.round()).any() or array.min() < 0 or array.max() > highest:
        raise InvalidDataError(
            f"inputs run from {array.min():g} to {array.max():g}, and this run takes the numbers of words, whole ones "
            f"from 0 to {highest:,}; give those, or texts."
        )
    return torch.from_numpy(array.astype(np.int64))


def _encode_texts(scorer: LiveScorer, texts: list[Any]) -> Tensor:
    if scorer.encoding is None or isinstance(scorer.encoding, Pixels):
        raise InvalidDataError(f"this run takes arrays [m, {_shape(scorer)}], not texts.")
    if not all(isinstance(text, str) for text in texts):
        raise InvalidDataError("some inputs are texts and some are not; give texts only, or an array only.")
    return torch.from_numpy(scorer.encoding.inputs(texts))


def _shape(scorer: LiveScorer) -> str:
    return ", ".join(str(length) for length in scorer.input_shape)


def _check_labels(labels: Any, n_inputs: int, n_classes: int) -> Tensor:
    array = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
    if array.shape != (n_inputs,) or array.dtype.kind not in "iu":
        raise LabelError(
            f"labels are {array.dtype} of shape {list(array.shape)} for {n_inputs} inputs; give one whole number "
            f"from 0 to {n_classes - 1} for each, or None for the class that the model answers."
        )
    if array.min() < 0 or array.max() >= n_classes:
        raise LabelError(f"labels run from {array.min()} to {array.max()}; classes have numbers 0 to {n_classes - 1}.")
    return torch.from_numpy(array.astype(np.int64))
