"""A prompt of a person's own: the models of a run go on with it, and what they say becomes a text to ask about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from trak_core.errors import EmptyDataError, InvalidDataError, InvalidSettingError, NeedNotMetError
from trak_core.gradients import run_model
from trak_core.inputs import as_tensors
from trak_core.live.tokens import OwnText, TokenScorer, token_scorer
from trak_core.media import Medium, texts_of
from trak_core.modalities.continuing import Begun, Continues
from trak_core.store.run import Run
from trak_core.tasks import Inputs
from trak_core.tasks.tokens import TokenTask

N_TOKENS = 20
"""New tokens at most, unless told otherwise."""
MOST_TOKENS = 100
"""That can be asked for: each is a run of all models in use."""


@dataclass(frozen=True)
class ContinuedText:
    """A prompt with a continuation, ready to be asked about."""

    media: tuple[Medium, ...]  # what people see of it
    text: OwnText  # as the models read it; the tokens of the continuation can be asked about


def continue_text(run: Run, prompt: str, n_tokens: int = N_TOKENS, seed: int | None = None) -> str:
    """What the models of a run say to a prompt together: by the mean of their predictions, token by token.

    Args:
        run: of a language model.
        prompt: what they go on with, or answer to; blanks at its end are left out.
        n_tokens: after which they stop, where they do not end before or have read all that they can.
        seed: of tokens that are drawn; None takes the most likely one each time.

    Raises:
        EmptyDataError: the prompt is empty, or nothing follows from it.
        InvalidDataError: it is too long for the models.
        InvalidSettingError: `n_tokens` or the seed cannot be.
        NeedNotMetError: the run has no language models that go on with a text; others as in `token_scorer`.
    """
    if not 1 <= n_tokens <= MOST_TOKENS:
        raise InvalidSettingError(f"n_tokens={n_tokens}; new tokens are a whole number from 1 to {MOST_TOKENS}.")
    if seed is not None and seed < 0:
        raise InvalidSettingError(f"seed={seed}; it is a whole number from 0, or None for the most likely tokens.")
    scorer, prompt = token_scorer(run), checked_prompt(prompt)
    encoding, task = _parts(run, scorer)
    begun = encoding.begun(prompt)
    said = encoding.said(begun, tokens_said(scorer, task, begun, n_tokens, seed))
    if not said.strip():
        raise EmptyDataError("the models end where this prompt ends; type what should follow, or another prompt.")
    return said


def continued_text(run: Run, prompt: str, continuation: str) -> ContinuedText:
    """A prompt with what follows, by the models or by somebody else, as a text that `TokenScorer` can be asked about.

    Raises:
        EmptyDataError: one of both is empty.
        InvalidDataError: they are too long for the models.
        NeedNotMetError: as in `continue_text`.
    """
    scorer, prompt = token_scorer(run), checked_prompt(prompt)
    if not continuation.strip():
        raise EmptyDataError("there is no continuation yet; type what should follow, and it is explained.")
    encoding, task = _parts(run, scorer)
    encoding.begun(prompt)  # or it is refused
    found = encoding.continued(prompt, continuation)
    own = scorer.live.subject.dataset.encoding
    assert own is not None  # the same, see above
    inputs, every = task.arranged(as_tensors(own.inputs(found.contents)), None)
    assert every is not None  # labels are part of these inputs
    read, places = own.tokens_told(texts_of(found.media)) or [], every.shape[1]
    first = next((i for i, at in enumerate(read) if at.text == found.text and at.end > found.start), places)
    target = task.only(every, torch.arange(places) >= first)
    if not task.asked(target).any():
        raise InvalidDataError("the models read nothing of this continuation: what stands before it is too long.")
    return ContinuedText(found.media, OwnText(inputs, target))


def tokens_said(scorer: TokenScorer, task: TokenTask, begun: Begun, n_tokens: int, seed: int | None) -> list[int]:
    """The tokens that the models of a scorer say to a prompt, up to the one that ends the text, which is left out."""
    draw = None if seed is None else np.random.default_rng(seed)
    inputs, ids = as_tensors(begun.inputs), torch.empty(1, 0, dtype=torch.int64)
    for _ in range(min(n_tokens, begun.room)):
        logits = _last_logits(scorer, task, task.followed(inputs, pad(ids, (0, 1))))  # whichever token stands there
        number = task.next_token(logits, None if draw is None else draw.random())
        if number in begun.ends:
            break
        ids = pad(ids, (0, 1), value=number)
    return [int(number) for number in ids[0]]


def checked_prompt(prompt: str) -> str:
    """A prompt without blanks at its end, which belong to what follows."""
    if not prompt.strip():
        raise EmptyDataError("there is no prompt yet; type a few words that the models are to go on with.")
    return prompt.rstrip()


def _parts(run: Run, scorer: TokenScorer) -> tuple[Continues, TokenTask]:
    encoding: object = scorer.live.subject.dataset.encoding
    task: object = scorer.live.context.task.query
    if not isinstance(encoding, Continues) or not isinstance(task, TokenTask):
        raise NeedNotMetError(f"the models of run {run.info.name!r} do not go on with a text; ask about its own texts.")
    return encoding, task


def _last_logits(scorer: TokenScorer, task: TokenTask, inputs: Inputs) -> Tensor:
    """Logits `[n_models, n_vocabulary]` of the last token, by each model in use."""
    model = scorer.live.context.architecture
    with scorer.turn, torch.no_grad():
        logits = [run_model(model, each.weights, inputs, task.token_logits)[0, -1] for each in scorer.checkpoints]
    return torch.stack(logits)
