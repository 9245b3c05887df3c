"""Pairs of a training example and the test example that it moves, as links to their explanation."""

from collections.abc import Sequence

import streamlit as st

from pages.components.assets import asset
from pages.components.media import for_script
from pages.components.pages import EXPLORE, page_address
from pages.components.view import Card, Cards, note
from trak_core.store.run import Run
from trak_core.views.examples import Example
from trak_core.views.groups import Pair

LETTERS = 120
"""Of a text: more than a pair has room for."""

_PAIRS = st.components.v2.component(
    "pairs",
    html='<div class="pairs"></div>',
    css=asset("pairs.css"),
    js=asset("elements.js", "follow.js", "pairs.js"),
)


def pair_gallery(run: Run, method: str, label: str, pairs: Sequence[Pair], side: str, *, key: str) -> None:
    """Shows pairs, train example to the left and test example to the right.

    Args:
        run: that they are of.
        method: that made the scores.
        label: what they are, for screen readers.
        pairs: in order.
        side: "proponent" or "opponent", the colour of the scores.
        key: of the component.
    """
    note(key, Cards(label, tuple(card for pair in pairs for card in _cards(pair))))
    _PAIRS(
        key=key,
        data={
            "label": label,
            "side": side,
            "pairs": [
                {
                    "train": _face(pair.train),
                    "test": _face(pair.test),
                    "score": f"{pair.score:+.3g}",
                    "address": _address(run, method, pair),
                    "name": f"train example {pair.train.idx}, label {pair.train.label_name}, for test example "
                    f"{pair.test.idx}, label {pair.test.label_name}: score {pair.score:+.3g}",
                }
                for pair in pairs
            ],
        },
    )


def _address(run: Run, method: str, pair: Pair) -> str:
    """Of the explanation."""
    state = {"run": run.info.name, "test": pair.test.idx, "train": pair.train.idx, "method": run.method_titles[method]}
    if run.info.has_classes:
        state["target"] = pair.test.label_name  # scores of pairs are about the label
    if picked := st.query_params.get("picked"):
        state["picked"] = picked
    return page_address(EXPLORE, **state)


def _face(example: Example) -> dict[str, object]:
    return {"idx": example.idx, "media": for_script(example.media, LETTERS)}


def _cards(pair: Pair) -> tuple[Card, Card]:
    moves = f"{pair.score:+.3g} for test {pair.test.idx}"
    return (
        Card(pair.train.media, (f"train {pair.train.idx}", moves)),
        Card(pair.test.media, (f"test {pair.test.idx}",)),
    )
