"""Questions about single tokens and spans of a test text, answered by a run's own models within a click.

TRAK's score of a text is a sum over its tokens, since its model output is: any span can be asked about, and what it
asks is one gradient. With phi the stored features (gradients projected by P), A the ridge kernel `Phi^T Phi + l I`, and
means over checkpoints,

    score_i(span) = q_i * mean of phi_i^T A^-1 phi(span) = q_i * mean of <grad f_i, P A^-1 phi(span)>

The last form is an inner product of the train example's gradient with one direction of parameters, which falls apart by
the tokens of the example (`gradients/by_token.py`): these are the marks on a proponent. Read from the other end, it
tells how much each token asked about owes to some examples, by one forward derivative along `P A^-1 sum of q_i phi_i`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import jvp

from trak_core.errors import InvalidSettingError, NeedNotMetError
from trak_core.gradients import StateDict, run_model
from trak_core.gradients.by_token import by_name
from trak_core.gradients.directional import forward_derivatives
from trak_core.inputs import take
from trak_core.live import LIVE_METHOD
from trak_core.live.agreement import Agreement, Probe, compare, draw_probes, mean_spearman, slope
from trak_core.live.context import LiveContext, read_context, read_features
from trak_core.methods.kernels import DEFAULT_RIDGE, CheckpointKernel
from trak_core.modalities import read_encoding
from trak_core.projection import SjltProjection, SketchMap
from trak_core.seeds import derive_seed
from trak_core.store.local_paths import metadata_here
from trak_core.store.run import Run
from trak_core.subjects.of_run import why_no_subject
from trak_core.tasks import TASKS, Inputs, held_by

N_CHECKPOINTS = 2
"""In use: a click waits for each of them."""
RIDGES_TRIED = (0.2, 1.0, 5.0)
"""Besides the run's own."""
N_KEPT = 2
"""Scorers in memory; the one used longest ago goes first."""
N_QUESTIONS = 8
"""Questions of which the solution is kept, for what is asked about them next."""


@dataclass(frozen=True, eq=False)
class OwnText:
    """A text that is no test example of the run."""

    inputs: Inputs  # `[1, ...]`
    target: Tensor  # what of it can be asked about `[1, ...]`


AskedText = int | OwnText
"""A text that is asked about: the number of a test example, or another one."""
_Question = tuple[AskedText, tuple[int, int] | None]


@dataclass(frozen=True)
class TokenCheckpoint:
    """One checkpoint, ready for questions."""

    weights: StateDict
    features: Tensor  # of the train examples `[n_train, proj_dim]`
    inverse: Tensor  # of the kernel `[proj_dim, proj_dim]`, float32
    feature_map: SketchMap  # by which the features were made

    def solve(self, rows: Tensor) -> Tensor:
        """Every row `[m, proj_dim]` times the inverse of the kernel."""
        return rows @ self.inverse


@dataclass(frozen=True)
class TokenScorer:
    """Ready to answer questions about the tokens of a run's test texts. Threads may share it and take turns."""

    live: LiveContext
    checkpoints: list[TokenCheckpoint]
    ridge: float  # relative to the mean squared norm of the features
    unit: float  # factor to the unit of the stored scores
    agreement: Agreement | None  # of its scores for whole texts with the stored ones
    turn: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _last: OrderedDict[_Question, list[Tensor]] = field(default_factory=OrderedDict, repr=False)

    def can_be_asked(self, text: AskedText) -> NDArray[np.bool_]:
        """Which tokens of a text can be asked about `[length]`."""
        parts = self.live.context.task.query.parts(self._example(text).target)
        assert parts is not None  # or there is no scorer
        return np.asarray(parts[0].numpy())

    def log_likelihood(self, text: AskedText) -> float:
        """Of a token that can be asked about, on average over tokens and checkpoints, in nats."""
        context, one = self.live.context, self._example(text)
        task = context.task.query
        with self.turn, torch.no_grad():
            losses = [
                task.loss(run_model(context.architecture, each.weights, one.inputs, task.outputs_of), one.target)
                for each in self.checkpoints
            ]
        return -float(torch.stack(losses).mean()) / int(self.can_be_asked(text).sum())

    def scores(self, text: AskedText, asked: range | None = None) -> NDArray[np.float32]:
        """Scores `[n_train]` float32 of all train examples for some tokens of a text, all of them when None.

        Raises:
            InvalidSettingError: nothing is asked at these tokens.
        """
        with self.turn:
            of_each = [
                each.features @ w[0] for each, w in zip(self.checkpoints, self._solved(text, asked), strict=True)
            ]
            return _array(torch.stack(of_each).mean(0) * self.live.q * self.unit)

    def marks(
        self, text: AskedText, train_idx: NDArray[np.int64], asked: range | None = None
    ) -> list[NDArray[np.float32]]:
        """How much each token of some train examples carries of their scores; they sum to these.

        Returns:
            Contributions `[n, length]` float32 of the tokens that the model reads and, for a model from text to text,
            of those that its decoder reads.
        """
        train, rows = self.live.context.train, torch.from_numpy(train_idx)
        inputs, targets = take(train.inputs, rows), train.targets[rows]
        with self.turn:
            found = []
            for each, w in zip(self.checkpoints, self._solved(text, asked), strict=True):
                direction = each.feature_map.direction(w, w.new_ones(1))
                computer = self.live.context.gradients.computer.prepared(each.weights)
                found.append(computer.by_token(each.weights, inputs, targets, direction))
            scale = (self.live.q[rows] * self.unit)[:, None]
            sides = [[part.inputs for part in found], [part.decoder for part in found if part.decoder is not None]]
            return [_array(torch.stack(side).mean(0) * scale) for side in sides if side]

    def carried(self, text: AskedText, train_idx: NDArray[np.int64]) -> NDArray[np.float32]:
        """What some train examples together carry of the log odds of each token of a text `[length]` float32.

        Summed over the tokens it is the sum of their scores; 0 where nothing is asked.
        """
        context, rows, inputs = self.live.context, torch.from_numpy(train_idx), self._example(text).inputs
        layers, task = context.query_gradients.layers, context.task.query
        with self.turn:
            of_each = []
            for each in self.checkpoints:
                w = each.solve((self.live.q[rows] @ each.features[rows])[None])
                fixed = held_by(context.architecture, each.weights)
                direction = by_name(each.feature_map.direction(w, w.new_ones(1)), layers, fixed)

                def outputs(moving: StateDict, fixed: StateDict = fixed) -> Tensor:
                    return run_model(context.architecture, {**fixed, **moving}, inputs, task.outputs_of)

                with forward_derivatives("questions about tokens"):
                    at = {name: fixed[name] for name in direction}
                    of_each.append(jvp(outputs, (at,), (direction,))[1][0])
            return _array(torch.stack(of_each).mean(0) * self.unit) * self.can_be_asked(text)

    def _solved(self, text: AskedText, asked: range | None) -> list[Tensor]:
        """`A^-1 phi` `[1, proj_dim]` of the question for each checkpoint; of the last few questions it is kept."""
        key = text, None if asked is None else (asked.start, asked.stop)
        if key not in self._last:
            gradients, found = self.live.context.query_gradients, []
            inputs, target = self._example(text).inputs, self._target(text, asked)
            for each in self.checkpoints:
                found.append(
                    each.solve(torch.cat(list(gradients.blocks(each.weights, inputs, target, each.feature_map))))
                )
            self._last[key] = found
            while len(self._last) > N_QUESTIONS:
                self._last.popitem(last=False)
        return self._last[key]

    def _example(self, text: AskedText) -> OwnText:
        """A text with all that can be asked about it."""
        if isinstance(text, OwnText):
            return text
        test, one = self.live.context.test, slice(text, text + 1)
        return OwnText(take(test.inputs, one), test.targets[one])

    def _target(self, text: AskedText, asked: range | None) -> Tensor:
        """What is asked about, `[1, ...]`."""
        target = self._example(text).target
        if asked is None:
            return target
        possible = self.can_be_asked(text)
        chosen = possible & np.isin(np.arange(len(possible)), asked)
        if not chosen.any():
            of_what = "your text" if isinstance(text, OwnText) else f"test example {text}"
            raise InvalidSettingError(
                f"tokens={asked.start} to {asked.stop - 1} of {of_what}: nothing is asked there; choose among "
                f"{', '.join(map(str, np.flatnonzero(possible)[:40].tolist()))}."
            )
        return self.live.context.task.query.only(target, torch.from_numpy(chosen))


def why_no_tokens(run: Run) -> str | None:
    """Why the tokens of a run's texts cannot be asked about, in a sentence; None when they may. Quick."""
    if LIVE_METHOD not in run.info.methods:
        return "Tokens are asked about by TRAK, of which this run has no scores."
    task = TASKS.get(str(run.info.provenance.get("task")))
    if task is None or task.parts(torch.zeros(1, 2, dtype=torch.int64)) is None:
        return "What is asked about in this run has no parts."
    encoding = read_encoding(metadata_here(run).get("encoding"))
    if encoding is None or not encoding.has_tokens:
        return "This run does not tell where tokens stand in its texts."
    reason = why_no_subject(run)
    return None if reason is None else f"This run {reason}."


def token_scorer(run: Run) -> TokenScorer:
    """The scorer of a run's published generation, made by the first who asks.

    Raises:
        NeedNotMetError: its tokens cannot be asked about, see `why_no_tokens`, or it stores no features.
        RunMismatchError: the data or a checkpoint is not what the run was made with.
    """
    if reason := why_no_tokens(run):
        raise NeedNotMetError(reason)
    key = (str(run.path.resolve()), run.generation)
    with _lock:
        if key not in _scorers:
            _scorers[key] = _prepared(run)
            while len(_scorers) > N_KEPT:
                _scorers.popitem(last=False)
        _scorers.move_to_end(key)
        return _scorers[key]


def _prepared(run: Run) -> TokenScorer:
    live = read_context(run)
    made, layers = run.info.provenance, live.context.gradients.layers
    to_choose, to_measure = draw_probes(run, other_class=False)
    checkpoints: list[TokenCheckpoint] = []
    ridge = None
    for index, weights in enumerate(live.context.states[:N_CHECKPOINTS]):
        features = read_features(run, index)
        # The projection by which the build made these features.
        projection = SjltProjection(run.info.proj_dim, derive_seed(made["seed"], "projection", index))
        feature_map = SketchMap(layers, projection)
        kernel = CheckpointKernel([features.double()], feature_map, dual=False)
        ridge = ridge or _best_ridge(live, kernel, weights, float(made["ridge"]), to_choose)
        inverse = torch.cholesky_inverse(kernel.factor(ridge)).float()  # in float64, and a click is one product away
        checkpoints.append(TokenCheckpoint(weights, features, inverse, feature_map))
    scorer = TokenScorer(live, checkpoints, ridge or DEFAULT_RIDGE, 1.0, None)

    def scored(probe: Probe) -> NDArray[np.float32]:
        return np.stack([scorer.scores(int(test_idx)) for test_idx in probe.test_idx])

    unit = slope(scored(to_choose), to_choose.stored)
    return replace(scorer, unit=unit, agreement=compare(scored(to_measure), to_measure.stored))


def _best_ridge(live: LiveContext, kernel: CheckpointKernel, weights: StateDict, of_run: float, probe: Probe) -> float:
    """The ridge by which scores of one checkpoint agree best with stored ones; `of_run` where nothing tells.

    Stored scores may come from whole gradients, and projected features carry a noise that takes more ridge.
    """
    context, asked = live.context, live.asked(probe)
    if not len(probe.test_idx):
        return of_run
    blocks = context.query_gradients.blocks(weights, asked.inputs, asked.targets, kernel.feature_map)
    rows = kernel.read([block.double() for block in blocks])

    def agreement(ridge: float) -> float:
        return mean_spearman((kernel.attribute(rows, ridge) * live.q).float().numpy(), probe.stored)

    return max(sorted({of_run, *RIDGES_TRIED}), key=agreement)


def _array(values: Tensor) -> NDArray[np.float32]:
    return np.asarray(values.detach().numpy(), dtype=np.float32)


_Key = tuple[str, tuple[int, int, int] | None]
_scorers: OrderedDict[_Key, TokenScorer] = OrderedDict()
_lock = threading.Lock()
