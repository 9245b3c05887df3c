"""Pairs of a training example and the test example that it moves, as links to their explanation."""

from collections.abc import Sequence

import streamlit as st

from pages.components.images import data_uri
from pages.components.links import FOLLOW_JS
from pages.components.pages import EXPLORE, page_address
from pages.components.text import shortened
from pages.components.view import Picture, Pictures, note
from trak_core.store.run import Run
from trak_core.views import Example, Pair

__all__ = ["pair_gallery"]

_CSS = """
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(var(--cell), 1fr)); gap: 6px; padding: 3px;
  font-family: var(--st-font); color: var(--st-text-color); }
a { all: unset; box-sizing: border-box; min-width: 0; cursor: pointer; padding: 4px; display: grid; gap: 2px 6px;
  grid-template-columns: 1fr auto 1fr; align-items: center; justify-items: center; font-size: 0.72rem;
  border: 1px solid var(--st-border-color); border-radius: var(--st-base-radius);
  background: var(--st-secondary-background-color); }
a:hover { border-color: var(--st-primary-color); }
a:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
img { display: block; width: 40px; height: 40px; image-rendering: pixelated; border-radius: 3px; background: white; }
.text { overflow: hidden; overflow-wrap: anywhere; max-height: 4.8em; line-height: 1.2; text-align: left; }
.score { grid-column: 1 / -1; font-weight: 600; font-size: 0.8rem; font-variant-numeric: tabular-nums; }
.proponent .score { color: var(--st-blue-color); }
.opponent .score { color: var(--st-orange-color); }
"""
_JS = """
export default function (component) {
  const { data, parentElement } = component
  const root = parentElement.querySelector(".pairs")
  root.setAttribute("role", "group")
  root.setAttribute("aria-label", data.label)
  root.style.setProperty("--cell", data.pairs.some((pair) => pair.train.image) ? "118px" : "230px")
  const box = (kind, text) => {
    const made = document.createElement("div")
    made.className = kind
    made.textContent = text
    return made
  }
  const face = (shown) => {
    if (!shown.image) return box("text", shown.text)
    const image = document.createElement("img")
    image.src = shown.image
    image.alt = ""
    return image
  }
  const links = data.pairs.map((pair, place) => {
    const link = document.createElement("a")
    link.href = pair.address
    link.onclick = (event) => follow(event, pair.address)
    link.className = data.side
    link.title = link.ariaLabel = pair.name
    link.tabIndex = place ? -1 : 0
    link.append(face(pair.train), box("arrow", "→"), face(pair.test))
    link.append(box("idx", "train " + pair.train.idx), box("", ""), box("idx", "test " + pair.test.idx))
    link.append(box("score", pair.score))
    return link
  })
  root.onkeydown = (event) => {
    const place = links.indexOf(event.target)
    const next = links[place + ({ ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key] ?? NaN)]
    if (place < 0 || !next) return
    event.preventDefault()
    links[place].tabIndex = -1
    next.tabIndex = 0
    next.focus()
  }
  root.replaceChildren(...links)
}
"""
_PAIRS = st.components.v2.component("pairs", html='<div class="pairs"></div>', css=_CSS, js=FOLLOW_JS + _JS)


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
    note(key, Pictures(label, tuple(picture for pair in pairs for picture in _pictures(pair))))
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
    image = data_uri(example.thumbnail) if example.thumbnail else None
    return {"idx": example.idx, "image": image, "text": shortened(example.text or "", 120)}


def _pictures(pair: Pair) -> tuple[Picture, Picture]:
    moves = f"{pair.score:+.3g} for test {pair.test.idx}"
    return (
        Picture(pair.train.thumbnail, pair.train.text or "", (f"train {pair.train.idx}", moves)),
        Picture(pair.test.thumbnail, pair.test.text or "", (f"test {pair.test.idx}",)),
    )
