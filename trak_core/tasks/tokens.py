"""What language models have in common: they answer token by token, and are asked about some of the tokens.

Each token is a classification among the whole vocabulary, given those before it. TRAK (Park et al. 2023, arXiv
2303.14186) takes as the model output the sum over the tokens asked about, `f = sum of log(p / (1 - p))`, and as the
weight of an example the mean of `1 - p` over its tokens.

What is asked about is given as Hugging Face gives labels: token ids `[n, length]`, -100 where nothing is asked. The
whole continuation, one token or a span of them differ in nothing but where -100 stands. The tokens themselves are part
of the inputs, so that the outputs of a task are one number a token, and never as wide as the vocabulary.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import softplus

from trak_core.errors import InvalidDataError, InvalidModelError, LabelError, NeedNotMetError, NoLogitsError
from trak_core.tasks.curvature import CurvaturePart
from trak_core.tasks.model_kinds import kind_of
from trak_core.tasks.outputs import Inputs, Model
from trak_core.tasks.ragged import IGNORED, LABELS, cut_to
from trak_core.tasks.task import Task

IDS = "input_ids"
LOGITS_AT_WORK = 6
"""Tensors as large as the logits that a forward and a backward pass hold at once; measured."""


class TokenTask(Task):
    """The log odds of the tokens asked about, together.

    Inputs are a tensor of ids `[n, length]`, or a dict as Hugging Face's models take it, with the tokens to be told
    under "labels". Outputs are log odds `log(p / (1 - p))` of each of these tokens `[n, length]`, 0 where there is
    none.
    """

    modality = "text"

    # --- what differs between models ----------------------------------------------------------------------

    @abstractmethod
    def tokens(self, inputs: Inputs) -> Tensor:
        """The tokens to be told, ids `[n, length]`, -100 where there is none."""

    @abstractmethod
    def token_logits(self, model: Model, inputs: Inputs) -> Tensor:
        """Logits `[n, length, n_vocabulary]`, each for the token of the same place in `tokens`."""

    def followed(self, inputs: Inputs, ids: Tensor) -> Inputs:
        """Inputs without labels, of one example, with these tokens `[1, n]` as the last ones to be told.

        Raises:
            NeedNotMetError: models of this task do not go on with a text.
        """
        raise NeedNotMetError(f"models of task {self.name!r} do not go on with a text; ask about texts that are there.")

    def next_token(self, logits: Tensor, uniform: float | None = None) -> int:
        """The token that models say next, by the mean of their predictions, from logits `[n_models, n_vocabulary]`.

        The most likely one, or the one drawn by a number from 0 to 1.
        """
        likelihood = logits.double().softmax(-1).mean(0)
        if uniform is None:
            return int(likelihood.argmax())
        cumulated = likelihood.cumsum(0)
        return min(int((cumulated <= uniform * float(cumulated[-1])).sum()), len(likelihood) - 1)

    def asked(self, target: Tensor) -> Tensor:
        """Which tokens are asked about, bool `[n, length]`."""
        return target >= 0

    def arranged(self, inputs: Inputs, labels: Tensor | None) -> tuple[Inputs, Tensor | None]:
        """As in `Task`: the tokens to be told are part of a dict of inputs, and the targets too."""
        if isinstance(inputs, dict):
            labels = self.tokens(inputs if labels is None else {**inputs, LABELS: labels})
            return {**inputs, LABELS: labels}, labels
        tokens = self.tokens(inputs)
        if labels is not None:
            self.check_targets(labels, tokens)  # such as labels that somebody has shifted
        return inputs, tokens if labels is None else labels

    def check_targets(self, targets: Tensor, labels: Tensor, start: int = 0) -> None:
        """As in `Task`: targets say which tokens of a text are asked about, not others in their places."""
        targets = cut_to(targets, labels)
        self._check_form(targets, labels)
        wrong = (self.asked(targets) & (targets != labels)).nonzero()
        if len(wrong):
            row, place = wrong[0].tolist()
            there = int(labels[row, place])
            raise LabelError(
                f"example {start + row} is asked about token {int(targets[row, place])} at place {place}, where "
                f"{f'it has {there}' if there >= 0 else 'it has none to be told'}; give its own tokens, not shifted, "
                f"with {IGNORED} where nothing is asked, as trak_core.tokens_asked makes them. Another continuation is "
                "another example, with labels of its own."
            )

    def numbers_at_work(self, model: nn.Module, labels: Tensor) -> int:
        """As in `Task`: logits of all tokens, what is made of them for log odds, and the gradients of both."""
        return LOGITS_AT_WORK * labels.shape[-1] * (n_words(model) or 0)

    def check_model(self, model: nn.Module) -> None:
        """As in `Task`: models of Hugging Face say it by their configuration."""
        config: Any = getattr(model, "config", None)
        if isinstance(getattr(config, "model_type", None), str) and (why := self._wrong_kinds.get(kind_of(config))):
            raise InvalidModelError(f"task {self.name!r} cannot be asked of this {config.model_type} model: {why}.")

    _wrong_kinds: ClassVar[Mapping[str, str]] = {}  # why models of some kinds are none for it, and what to do

    def shortened(self, inputs: Inputs, labels: Tensor, length: int) -> tuple[Inputs, Tensor]:
        """As in `Task`: the first tokens of each text, which is asked about as a whole where its labels begin later."""
        if not isinstance(inputs, dict):
            return inputs[:, :length], inputs[:, :length]  # type: ignore[call-overload]
        cut = {name: part[:, :length] if part.dim() == 2 else part for name, part in inputs.items()}
        if not self.asked(cut[LABELS]).any(-1).all():
            cut[LABELS] = cut[IDS]
        return cut, cut[LABELS]

    # --- the model output and the loss --------------------------------------------------------------------

    def outputs_of(self, model: Model, inputs: Inputs) -> Tensor:
        """Log odds `[n, length]` of the tokens given those before them, accurate where p is near 1."""
        tokens, logits = self.tokens(inputs), self._logits(model, inputs)
        return _log_odds(logits, tokens)

    def model_output(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The sum `[n]` of the log odds of the tokens asked about."""
        return (outputs * self.asked(target)).sum(-1)

    def out_to_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The mean `[n]` of `1 - p` over the tokens asked about."""
        asked = self.asked(target)
        return (torch.sigmoid(-outputs) * asked).sum(-1) / asked.sum(-1).clamp_min(1)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The negative log-likelihood `[n]` of the tokens asked about, in nats: a sum, not a mean."""
        return (softplus(-outputs) * self.asked(target)).sum(-1)

    def in_words(self, target: NDArray[Any]) -> str:
        """How many tokens are asked about."""
        n = int(self.asked(torch.from_numpy(target)[None]).sum())
        return f"{n:,} token{'s' * (n != 1)}"

    def parts(self, target: Tensor) -> Tensor:
        """The tokens asked about."""
        return self.asked(target)

    def only(self, target: Tensor, parts: Tensor) -> Tensor:
        """Targets with -100 at all other tokens."""
        return torch.where(parts & self.asked(target), target, IGNORED)

    def check(self, outputs: Tensor, target: Tensor, start: int = 0) -> None:
        """Refuses labels that are no token ids or ask about nothing.

        Raises:
            LabelError: labels are not whole numbers `[n, length]`, or all of an example are -100.
        """
        self._check_form(target, outputs)
        self.check_labels(target, start=start)

    def _check_form(self, target: Tensor, tokens: Tensor) -> None:
        """Refuses labels that are not one whole number for each of the tokens `[n, length]`."""
        if target.is_floating_point() or target.shape != tokens.shape:
            raise LabelError(
                f"labels are {target.dtype} of shape {tuple(target.shape)} for {tuple(tokens.shape)} tokens; task "
                f"{self.name!r} takes a token id for each, {IGNORED} where nothing is asked."
            )

    def check_labels(self, labels: Tensor, what: str = "", start: int = 0) -> None:
        """As in `Task`: something has to be asked about each example."""
        if labels.is_floating_point() or labels.dim() != 2:
            return  # as `check` tells
        silent = (~self.asked(labels).any(-1)).nonzero()
        if len(silent):
            raise LabelError(
                f"the labels of {what}example {start + int(silent[0, 0])} ask about no token: all are {IGNORED}"
                f"{self._silent_because}; label the tokens to explain by their ids, or leave the example out."
            )

    _silent_because = ""

    def _logits(self, model: Model, inputs: Inputs) -> Tensor:
        logits = self.token_logits(model, inputs)
        if logits.dim() < 3:
            raise NoLogitsError(
                f"the model returns logits of shape {tuple(logits.shape)}; task {self.name!r} needs some for every "
                "token, [n, length, n_vocabulary]. For one answer to a whole text use task='text_classification'."
            )
        return logits

    # --- the curvature of the loss ------------------------------------------------------------------------

    def curvature(
        self, outputs: Tensor, target: Tensor | None, draws: int | None = None, uniform: Tensor | None = None
    ) -> Iterator[CurvaturePart]:
        """The Fisher matrix by sampled tokens: `E[g g^T]` with g the gradient of the log-likelihood of a sample.

        Tokens are drawn from the model's own predictions at every place asked about. At two places they are drawn
        independently, so that the mixed terms vanish in expectation and one gradient for the whole text will do
        (Martens 2020, arXiv 1412.1193, section 5). There are as many parts as words, so that not all are ever taken:
        `draws=None` takes two.
        """
        taken = 2 if draws is None else draws
        asked = torch.ones_like(outputs, dtype=torch.bool) if target is None else self.asked(target)
        # The number of an example decides on its draws, so that they are the same in any company.
        seeds = [0] * len(outputs) if uniform is None else [int(number * 2**32) for number in uniform.tolist()]
        for j in range(taken):
            drawn = np.stack([np.random.default_rng((seed, j)).random(outputs.shape[1]) for seed in seeds])
            numbers = torch.where(asked, torch.from_numpy(drawn).to(outputs), -1.0)
            yield CurvaturePart(_Sampled(self), numbers, outputs.new_full((len(outputs),), taken**-0.5))

    @property
    def curved(self) -> Task:
        """The logits of all tokens, in which the loss is cross-entropy."""
        return _Logits(self)


@dataclass(frozen=True)
class _Sampled(Task):
    """The log-likelihood of tokens sampled from the model's predictions, by the numbers from 0 to 1 in the target."""

    inner: TokenTask
    name: str = "sampled_tokens"

    def outputs_of(self, model: Model, inputs: Inputs) -> Tensor:
        return self.inner._logits(model, inputs)

    def model_output(self, outputs: Tensor, target: Tensor) -> Tensor:
        likelihood = outputs.log_softmax(-1)
        cumulated = likelihood.detach().exp().cumsum(-1)
        drawn = (cumulated <= target[..., None]).sum(-1).clamp(max=outputs.shape[-1] - 1)
        return (likelihood.gather(-1, drawn[..., None])[..., 0] * (target >= 0)).sum(-1)

    def out_to_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return outputs.new_ones(len(outputs))


@dataclass(frozen=True)
class _Logits(Task):
    """All logits `[n, length, n_vocabulary]`; targets as those of the other task, by which the loss is taken."""

    inner: TokenTask
    name: str = "token_logits"

    def outputs_of(self, model: Model, inputs: Inputs) -> Tensor:
        return self.inner._logits(model, inputs)

    def model_output(self, outputs: Tensor, target: Tensor) -> Tensor:
        return self.inner.model_output(_log_odds(outputs, target), target)

    def out_to_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return self.inner.out_to_loss(_log_odds(outputs, target), target)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        likelihood = outputs.log_softmax(-1).gather(-1, target.clamp_min(0)[..., None])[..., 0]
        return -(likelihood * self.inner.asked(target)).sum(-1)

    def curvature_product(self, outputs: Tensor, target: Tensor, vectors: Tensor) -> Tensor:
        p = outputs.softmax(-1)
        turned = p * (vectors - (p * vectors).sum(-1, keepdim=True))
        return turned * self.inner.asked(target)[..., None]


def _log_odds(logits: Tensor, tokens: Tensor) -> Tensor:
    """`log(p / (1 - p))` of each token, 0 where there is none; by the other logits, so that p near 1 loses nothing."""
    place = tokens.clamp_min(0)[..., None]
    others = logits.scatter(-1, place, -torch.inf).logsumexp(-1)
    return (logits.gather(-1, place)[..., 0] - others) * (tokens >= 0)


def n_words(model: nn.Module | None) -> int | None:
    """How many tokens a model knows, by its table of embeddings; None where it does not say."""
    try:
        table: Any = model.get_input_embeddings()  # type: ignore[union-attr, operator]
    except (AttributeError, NotImplementedError, TypeError):
        return None
    size = getattr(table, "num_embeddings", None)
    return size if isinstance(size, int) else None


def without_labels(inputs: Inputs) -> Any:
    """Inputs as the model takes them where it is not to compute a loss."""
    return {name: part for name, part in inputs.items() if name != LABELS} if isinstance(inputs, dict) else inputs


def ids_of(inputs: Inputs) -> Tensor:
    """The token ids `[n, length]` that a model reads.

    Raises:
        InvalidDataError: there are none, or they are no whole numbers.
    """
    ids: Any = inputs.get(IDS) if isinstance(inputs, dict) else inputs
    if not isinstance(ids, Tensor) or ids.is_floating_point():
        raise InvalidDataError(
            "inputs hold no token ids; give a tensor of ids [n, length], or a dict with input_ids as a tokenizer "
            "makes it."
        )
    return ids
