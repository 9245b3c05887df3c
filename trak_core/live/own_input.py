"""A person's own input from its raw form to what a page shows.

Torch is imported when the first input is explained, so that pages can offer it without waiting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trak_core.datasets import Pixels, read_encoding
from trak_core.errors import NeedNotMetError
from trak_core.live import LIVE_METHOD
from trak_core.live.prepared_image import look_in_words, prepare_image
from trak_core.live.texts import read_text
from trak_core.store.ranking import Side, strongest
from trak_core.store.run import Run
from trak_core.subjects import OWN_DATA, OWN_SUBJECT
from trak_core.subjects.of_run import why_no_subject
from trak_core.views import Attributed, read_examples

if TYPE_CHECKING:
    from trak_core.live.scorer import Answer

__all__ = [
    "OwnInput",
    "OwnWords",
    "example_text",
    "explain_own_image",
    "explain_own_text",
    "look_of",
    "own_sentences",
    "sides",
    "takes_drawings",
    "why_not_live",
]

IMAGE_RECIPES = ("digits",)
"""Recipes of images to whose look a picture can be brought."""


@dataclass(frozen=True)
class OwnInput:
    """An input of a person's own, and the answer to it.

    Attributes:
        thumbnail: PNG bytes of the image as the model sees it; None for texts.
        text: as it was encoded; None for images.
        steps: what was done to bring it to the look of the data, a sentence each.
        answer: of the model, with scores.
    """

    thumbnail: bytes | None
    text: str | None
    steps: tuple[str, ...]
    answer: Answer


def why_not_live(run: Run) -> str | None:
    """Why own inputs cannot be read for a run, in a sentence; None when they can. Quick: nothing is prepared."""
    if LIVE_METHOD not in run.info.methods:
        return "Own inputs are scored by TRAK, of which this run has no scores."
    if reason := why_no_subject(run):
        return f"This run {reason}." if run.info.recipe == OWN_SUBJECT else _why_no_model(run)
    if run.info.recipe in IMAGE_RECIPES or read_encoding(run.info.provenance) is not None:
        return None
    if run.info.recipe == OWN_SUBJECT:
        return (
            "The subject of this run turns its data into inputs itself, so give a new input from Python, as inputs: "
            f"trak_core.open_run({run.info.name!r}).attribute(inputs)."
        )
    what = "vocabulary, so a new text" if run.info.modality == "text" else "size and tones, so a new image"
    return f"This run keeps no {what} cannot be turned into what the model takes."


def _why_no_model(run: Run) -> str:
    if run.info.recipe in OWN_DATA:
        model = run.info.provenance.get("model")
        return f"Own inputs need the model of this run, and “{model}” is not here any more, or not as it was."
    if run.info.provenance.get("imported"):
        return "Own inputs need a model, and this run holds scores alone; score them where those were made."
    return (
        "Own inputs need a model that can be made again, and this run was saved from Python. There, score them with "
        "the Attributor that made the run."
    )


def takes_drawings(run: Run) -> bool:
    """True for a run of digits, which people can draw."""
    return run.info.recipe in IMAGE_RECIPES


def look_of(run: Run) -> str:
    """What the images of a run of own data have, such as "32 × 32 pixels, in colour"; empty for others."""
    encoding = read_encoding(run.info.provenance)
    return look_in_words(encoding) if isinstance(encoding, Pixels) else ""


def example_text(run: Run) -> str:
    """What somebody may type: the beginning of the first test text."""
    rows = run.rows("SELECT left(text, 60) FROM examples WHERE split = 'test' AND idx = 0")
    return f"{' '.join(str(rows[0][0]).split())} …" if rows else ""


def explain_own_image(run: Run, content: bytes) -> OwnInput:
    """The explanation of an image file.

    Raises:
        InvalidDataError: the file cannot be read, or there is nothing on it.
        NeedNotMetError: the run cannot score new inputs.
        RunMismatchError: the data or a checkpoint is not what the run was made with.
    """
    encoding = read_encoding(run.info.provenance)
    if run.info.recipe not in IMAGE_RECIPES and not isinstance(encoding, Pixels):
        raise NeedNotMetError(why_not_live(run) or "This run takes texts; type one.")
    import torch

    from trak_core.live.attribution import live_scorer

    if isinstance(encoding, Pixels):
        prepared = prepare_image(content, encoding)
        answer = live_scorer(run).answer(torch.from_numpy(prepared.inputs))
        return OwnInput(prepared.thumbnail, None, prepared.steps, answer)
    from trak_core.live.digit_look import read_digit

    image = read_digit(content)
    scorer = live_scorer(run)
    # Blank paper and full ink are the smallest and the largest number of the train inputs.
    paper, full = scorer.ink_range
    inputs = torch.from_numpy((paper + image.ink * (full - paper)).reshape(1, *scorer.input_shape).astype(np.float32))
    return OwnInput(image.thumbnail, None, image.steps, scorer.answer(inputs))


def explain_own_text(run: Run, text: str) -> OwnInput:
    """The explanation of a text.

    Raises:
        EmptyDataError: the text is empty.
        InvalidDataError: it has no word that the model knows.
        NeedNotMetError: the run cannot score new inputs.
        RunMismatchError: the data or a checkpoint is not what the run was made with.
    """
    encoding = read_encoding(run.info.provenance)
    if encoding is None or isinstance(encoding, Pixels):
        raise NeedNotMetError(why_not_live(run) or "This run takes images; upload one.")
    typed = read_text(text, encoding)
    from trak_core.live.attribution import encode_inputs, live_scorer

    scorer = live_scorer(run)
    return OwnInput(None, typed.text, typed.steps, scorer.answer(encode_inputs(scorer, [typed.text]), typed.text))


def sides(run: Run, answer: Answer, asked_class: int, side: Side, k: int = 12) -> list[Attributed]:
    """The train examples at one end of the scores for a class, strongest first."""
    scores = answer.scores[run.check_class(asked_class)].astype(np.float64)
    examples = read_examples(run, "train", strongest(scores, side, k).tolist())
    return [
        Attributed(rank, float(scores[example.idx]), example, example.label == asked_class)
        for rank, example in enumerate(examples, start=1)
    ]


@dataclass(frozen=True)
class OwnWords:
    """What is said of an own input.

    Attributes:
        answer: what the model says, and what is explained.
        warning: that the input is unlike the data; empty when it is not.
        trust: how far the scores can be believed.
    """

    answer: str
    warning: str
    trust: str


def own_sentences(run: Run, own: OwnInput, asked_class: int) -> OwnWords:
    """The sentences about an own input and the class asked about."""
    answer, names = own.answer, run.info.class_names
    said = f"The model calls this “{names[answer.predicted]}”, {answer.probabilities[answer.predicted]:.0%} sure."
    if asked_class == answer.predicted:
        said += " These training examples made it so, and these spoke against it."
    else:
        said += (
            f" It gives “{names[asked_class]}” {answer.probabilities[asked_class]:.1%}; these training examples spoke "
            f"for “{names[asked_class]}”, and these against it."
        )
    return OwnWords(said, _warning(own), _trust(run, own, asked_class))


def _warning(own: OwnInput) -> str:
    unlike = own.answer.unlike
    reasons = []
    if unlike.is_far:
        reasons.append(
            f"it is {unlike.distance / unlike.usual:.1f} times as far from every training example as 99 in 100 test "
            "examples are at most"
        )
    if unlike.has_unknown_words:
        reasons.append(
            f"the model knows {unlike.known:.0%} of its words, and at least {unlike.usual_known:.0%} of those in 99 in "
            "100 test texts"
        )
    if not reasons:
        return ""
    return f"This is unlike what the model was trained on: {'; '.join(reasons)}. Its answer may mean nothing."


def _digits(correlation: float) -> str:
    """Two digits, or three where two would say 1."""
    return f"{correlation:.3f}" if correlation >= 0.985 else f"{correlation:.2f}"


def _trust(run: Run, own: OwnInput, asked_class: int) -> str:
    agreement = own.answer.agreement_for(asked_class)
    if agreement is None:
        return "How far these scores follow the stored ones could not be measured: no test example was left for it."
    sentence = (
        f"Scores of new inputs follow the stored ones at {_digits(agreement.spearman)} (rank correlation; 1 is the "
        f"same order) and share {agreement.top_overlap:.0f} of {agreement.n_top} top proponents, measured on "
        f"{agreement.n_test} test examples."
    )
    if run.has_lds and np.isfinite(lds := run.lds(LIVE_METHOD).mean):
        sentence += f" The stored ones predicted retrained models with LDS {lds:.2f}."
    return sentence
