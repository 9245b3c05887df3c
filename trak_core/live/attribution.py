"""`LiveRun.attribute`: checks what is given, keeps the scorers of the runs looked at, and scores."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_map

from trak_core.errors import (
    EmptyDataError,
    InvalidDataError,
    LabelError,
    NeedNotMetError,
    ShapeMismatchError,
    running_own_code,
)
from trak_core.gradients import Inputs
from trak_core.inputs import as_tensors, count, leaves
from trak_core.live import LIVE_METHOD
from trak_core.live.scorer import LiveScorer, prepare_scorer
from trak_core.store.run import Run

N_KEPT = 2
"""Scorers in memory; the one used longest ago goes first."""

_Key = tuple[str, tuple[int, int, int] | None]
_scorers: OrderedDict[_Key, LiveScorer] = OrderedDict()
_being_prepared: dict[_Key, threading.Lock] = {}
_lock = threading.Lock()


def live_scorer(run: Run) -> LiveScorer:
    """The scorer of a run's published generation; prepared by the first who asks, shared by all others.

    Errors as in `prepare_scorer`.
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
    """Scores `[m, n_train]` float32 of new inputs; see `LiveRun.attribute`."""
    if run.check_method(method) != LIVE_METHOD:
        raise NeedNotMetError(
            f"method {method!r} cannot score new inputs, only {LIVE_METHOD!r} can; leave out `method`."
        )
    scorer = live_scorer(run)
    encoded = encode_inputs(scorer, inputs)
    targets = None if labels is None else _check_labels(run, labels, count(encoded))
    with scoring(scorer, encoded):
        return scorer.attribute(encoded, scorer.says(encoded).value if targets is None else targets)


def encode_inputs(scorer: LiveScorer, inputs: Any) -> Inputs:
    """Inputs as the model takes them, `[m, ...]` each; what is no array yet, such as texts, is encoded as the run's.

    Raises:
        EmptyDataError: there are none.
        ShapeMismatchError: they have another form or shape than the inputs of the run.
        InvalidDataError: they are no numbers, not finite, or no ids that there are.
    """
    modality = scorer.modality
    with running_own_code(f"reading {modality.plural} from inputs={type(inputs).__name__}", InvalidDataError):
        if (contents := modality.from_python(inputs)) is not None and scorer.encoding is not None:
            return as_tensors(scorer.encoding.inputs(contents))  # type: ignore[no-any-return]
    if isinstance(inputs, str) or (isinstance(inputs, Sequence) and any(isinstance(each, str) for each in inputs)):
        raise InvalidDataError(f"this run takes arrays {_form(scorer)}, not texts.")
    expected = scorer.example
    same_form = isinstance(inputs, type(expected)) or not isinstance(expected, dict | tuple)
    if not same_form or (isinstance(expected, dict) and set(inputs) != set(expected)):
        given = f"a dict of {', '.join(map(str, inputs))}" if isinstance(inputs, dict) else f"a {type(inputs).__name__}"
        raise ShapeMismatchError(f"inputs are {given}, and this run takes arrays {_form(scorer)}; give these.")
    encoded: Any = tree_map(partial(_numbers, scorer), expected, inputs)
    if not count(encoded):
        raise EmptyDataError("there are no inputs to score; give at least one.")
    if scorer.encoding is not None:
        with running_own_code(f"checking inputs as {modality.plural}", InvalidDataError):
            scorer.encoding.check(encoded)
    return as_tensors(encoded)  # type: ignore[no-any-return]


def scoring(scorer: LiveScorer, inputs: Inputs) -> AbstractContextManager[None]:
    """While these inputs are scored, whatever the model or its task raises is said in a sentence, InvalidDataError."""
    given = ", ".join(f"{list(leaf.shape)} from {leaf.min():g} to {leaf.max():g}" for leaf in leaves(inputs))
    wanted = f"give inputs that the model of this run can take, {_form(scorer)} as its train examples are"
    return running_own_code(f"scoring inputs {given}", InvalidDataError, wanted)


def _numbers(scorer: LiveScorer, expected: NDArray[Any], given: Any) -> NDArray[Any]:
    """One array of inputs, of the type and the shape that the run has there."""
    try:
        held = given.detach().cpu() if isinstance(given, Tensor) else given
        array = np.ascontiguousarray(np.asarray(held), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidDataError(f"inputs are no array of numbers ({error}); give an array {_form(scorer)}.") from error
    if array.ndim == 0 or array.shape[1:] != expected.shape[1:]:
        raise ShapeMismatchError(
            f"inputs have shape {list(array.shape)}, and this run takes {_form(scorer)}; give one row for each input, "
            "prepared as the train inputs are."
        )
    if not np.isfinite(array).all():
        place = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(1))[0])
        raise InvalidDataError(f"input {place} has a NaN or infinite number; fix it or leave it out.")
    if expected.dtype.kind in "iu" and (array != array.round()).any():
        raise InvalidDataError(
            f"inputs run from {array.min():g} to {array.max():g} and have decimals, and this run takes ids, which are "
            "whole numbers; give those."
        )
    return array.astype(expected.dtype)


def _form(scorer: LiveScorer) -> str:
    """The shapes of inputs of the run in their form, such as "[m, 1, 8, 8]" or "{ids: [m, 12], mask: [m, 12]}"."""

    def shape(array: NDArray[Any]) -> str:
        return f"[{', '.join(['m', *map(str, array.shape[1:])])}]"

    example = scorer.example
    if isinstance(example, dict):
        return f"{{{', '.join(f'{name}: {shape(part)}' for name, part in example.items())}}}"
    return f"({', '.join(map(shape, example))})" if isinstance(example, tuple) else shape(example)


def _check_labels(run: Run, labels: Any, n_inputs: int) -> Tensor:
    if not run.info.has_classes:
        given = " ".join(str(labels).split())[:60]
        raise LabelError(
            f"labels={given}, and run {run.info.name!r} has no classes to explain; leave out `labels`, and what the "
            "model answers is explained."
        )
    n_classes = len(run.info.class_names)
    array = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
    if array.shape != (n_inputs,) or array.dtype.kind not in "iu":
        raise LabelError(
            f"labels are {array.dtype} of shape {list(array.shape)} for {n_inputs} inputs; give one whole number "
            f"from 0 to {n_classes - 1} for each, or None for the class that the model answers."
        )
    if array.min() < 0 or array.max() >= n_classes:
        raise LabelError(f"labels run from {array.min()} to {array.max()}; classes have numbers 0 to {n_classes - 1}.")
    return torch.from_numpy(array.astype(np.int64))
