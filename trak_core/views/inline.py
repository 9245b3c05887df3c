"""An explanation inside a notebook: pictures and texts in the cell that asked for it.

All text comes from data that anybody may have written, so every piece of it is escaped; images are part of the
answer, and nothing is fetched from anywhere.
"""

import html
from dataclasses import dataclass

from trak_core.media import Medium, Picture
from trak_core.store.run import Run
from trak_core.views.browse import overview
from trak_core.views.examples import Example, ScoredExample
from trak_core.views.explanation import Explanation, explain
from trak_core.views.media_html import data_uri, text_in_html
from trak_core.views.model_quality import learnt_sentence

SIDE = 84
"""Of pictures, in pixels; small ones are enlarged so that every pixel is visible."""
LONG_TEXT = 300
_AS_IT_IS = "tex2jax_ignore mathjax_ignore"
"""Classes that keep notebooks from typesetting what stands between dollar signs in a text."""
_CARD = "display:inline-block;vertical-align:top;margin:.2rem;max-width:16rem;font-size:.8rem;overflow-wrap:anywhere"
_PICTURE = f"display:block;width:{SIDE}px;height:{SIDE}px;object-fit:contain;image-rendering:pixelated"


@dataclass(frozen=True)
class Inline:
    """An explanation that shows itself: in a notebook with pictures, elsewhere as lines of text."""

    explanation: Explanation  # what is shown
    has_classes: bool  # False where the model gives a number

    def _repr_html_(self) -> str:
        """HTML that a notebook shows."""
        shown = self.explanation
        sides = "".join(
            f"<p><strong>{html.escape(title)}</strong></p><div>{''.join(map(self._attributed, items))}</div>"
            for title, items in self._sides()
        )
        return (
            f'<div class="{_AS_IT_IS}"><p>{html.escape(self._headline())}</p>{_card(shown.example, "")}'
            f"{sides}<p>{html.escape(self._trust())}</p><p>{html.escape(self._learnt())}</p></div>"
        )

    def __repr__(self) -> str:
        lines = [self._headline()]
        for title, items in self._sides():
            lines.append(title)
            lines += [
                f"  {item.score:+9.4g}  train {item.example.idx}, {item.example.label_name}"
                + (f": {_short(item.example.text)}" if item.example.text else "")
                for item in items
            ]
        return "\n".join([*lines, self._trust(), self._learnt()])

    def _headline(self) -> str:
        shown = self.explanation
        kind = "labelled" if self.has_classes else "target"
        sure = "" if shown.confidence is None else f", {shown.confidence:.0%} sure"
        said = (
            f"{'the model says' if shown.has_answer else 'the model output is'} {shown.predicted_name}{sure}"
            if shown.predicted >= 0
            else "the answer of the model is not known"
        )
        return f"Test example {shown.example.idx}, {kind} {shown.example.label_name}: {said}."

    def _sides(self) -> list[tuple[str, list[ScoredExample]]]:
        shown = self.explanation
        what = f"a higher {'answer' if shown.has_answer else 'model output'}"
        what = f"“{shown.target_name}”" if self.has_classes else what
        return [
            (f"Training examples that spoke for {what}", shown.proponents),
            (f"Training examples that spoke against {what}", shown.opponents),
        ]

    def _trust(self) -> str:
        trust = self.explanation.trust
        fixed = "" if trust.lds_fixed is None else f", {trust.lds_fixed:.2f} at fixed class counts"
        measured = "" if trust.lds is None else f" (LDS {trust.lds:.2f}{fixed})"
        words = f"Scores by {self.explanation.method}; trust in this explanation: {trust.level}{measured}."
        return " ".join([words, *trust.sentences])

    def _learnt(self) -> str:
        return learnt_sentence(self.explanation.quality)

    def _attributed(self, item: ScoredExample) -> str:
        return _card(item.example, f"{item.score:+.3g} · {item.example.label_name}")


def show(run: Run, test_idx: int, target: int | str | None = None, method: str | None = None, k: int = 6) -> Inline:
    """The explanation of one test example, to be the last line of a notebook's cell.

    Args:
        run: of `open_run`.
        test_idx: of the test example.
        target: what is asked about it, by number or name (see `Run.targets`); the model's own answer by default.
        method: the run's own method by default.
        k: train examples on each side.

    Raises:
        NotInRunError: there is no such test example, method or target.
    """
    number = None if target is None else run.check_target(test_idx, target)
    return Inline(explain(run, overview(run), test_idx, number, method, k), run.info.has_classes)


def _card(example: Example, caption: str) -> str:
    alt = html.escape(f"{example.split} example {example.idx}, {example.label_name}", quote=True)
    shown = "".join(_medium(medium, alt) for medium in example.media)
    return f'<div style="{_CARD}">{shown}{html.escape(caption)}</div>'


def _medium(medium: Medium, alt: str) -> str:
    name = f"<small>{html.escape(medium.name)}</small>" if medium.name else ""
    if isinstance(medium, Picture):
        return f'{name}<img src="{data_uri(medium)}" alt="{alt}" style="{_PICTURE}">'
    return f"{name}<div>{text_in_html(medium, LONG_TEXT)}</div>"


def _short(text: str) -> str:
    return text if len(text) <= LONG_TEXT else text[:LONG_TEXT].rstrip() + " ..."
