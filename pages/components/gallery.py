"""A gallery of examples: one component with real buttons, whatever the number of items.

One widget a thumbnail would cost a browser message each; this sends all items in one. Text from data sets reaches the
page through `textContent` and attributes only, never as HTML.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from pages.components.assets import asset
from pages.components.media import for_script
from pages.components.text import apart
from pages.components.view import Card, Cards, note
from trak_core.views.examples import Example

MAX_ITEMS = 60
MAX_LETTERS, MAX_LETTERS_OF_PAIR = 400, 120
"""Of a text: more than its button has room for."""

_COMPONENT = st.components.v2.component(
    "gallery", html='<div class="gallery"></div>', css=asset("gallery.css"), js=asset("elements.js", "gallery.js")
)


@dataclass(frozen=True)
class GalleryItem:
    """One button of a gallery."""

    example: Example  # what it shows
    name: str  # what a screen reader says and the pointer shows
    caption: str = ""  # below the image
    score: str = ""  # below the image, with its sign
    side: str = ""  # "proponent" or "opponent", the colour of the score
    other: bool = False  # True marks an example of another class than the one that is explained
    chosen: bool = False  # True marks an example that is picked
    badge: str = ""  # a word or two in the corner
    pair: Example | None = None  # a second example beside it, that the first one moves
    href: str | None = None  # the address within the app that a click leads to: `page_address`


def named(example: Example) -> str:
    """What to call an example in a gallery."""
    came_from = "" if example.origin is None else f", from {example.origin}"
    return f"{example.split} example {example.idx}, {labelled(example)}{came_from}"


def labelled(example: Example) -> str:
    """The label of an example, or what is asked about it where it has none."""
    return f"label {apart(example.label_name)}" if example.is_labelled else example.label_name


def caption_of(example: Example) -> str:
    """What stands below an example: its label, or where it came from where it has none."""
    return labelled(example) if example.is_labelled or example.origin is None else apart(example.origin)


def gallery(
    label: str,
    items: Sequence[GalleryItem],
    *,
    key: str,
    on_pick: Callable[[int], None] | None = None,
    selected: int | None = None,
    size: int = 64,
    strip: bool = False,
    on_choose: Callable[[int], None] | None = None,
    parts: Callable[[str], list[str]] | None = None,
) -> None:
    """Shows up to 60 examples as buttons or links.

    Args:
        label: what the gallery is, for screen readers.
        items: in order.
        key: of the component.
        on_pick: called with the idx of the example that was clicked, before the page is drawn again.
        selected: idx of the example to mark.
        size: of an image, in pixels.
        strip: True for a single row that scrolls sideways.
        on_choose: called with the idx of an example that was clicked with Alt, or for which P was pressed.
        parts: parts a text, so that every second part is marked; None marks nothing.
    """

    def told(name: str, listener: Callable[[int], None] | None) -> None:
        idx = st.session_state[key][name]
        if idx is not None and listener is not None:
            listener(int(idx))

    if not strip:  # a strip is for finding one's way and no part of the view
        note(key, Cards(label, tuple(card for item in items[:MAX_ITEMS] for card in _cards(item))))
    _COMPONENT(
        key=key,
        data={
            "label": label,
            "size": size,
            "strip": strip,
            "selected": selected,
            "can_choose": on_choose is not None,
            "items": [_item(item, parts) for item in items[:MAX_ITEMS]],
        },
        on_picked_change=lambda: told("picked", on_pick),
        on_chosen_change=lambda: told("chosen", on_choose),
    )


def _cards(item: GalleryItem) -> list[Card]:
    if item.pair is None:
        return [Card(item.example.media, tuple(filter(None, (item.score, item.caption, item.example.origin))))]
    train, test = f"train {item.example.idx}", f"test {item.pair.idx}"
    moves = f"{item.score} for {test}"
    return [Card(item.example.media, (train, moves)), Card(item.pair.media, (test,))]


def _item(item: GalleryItem, parts: Callable[[str], list[str]] | None) -> dict[str, object]:
    message: dict[str, object] = {name: value for name, value in vars(item).items() if name not in ("example", "pair")}
    letters = MAX_LETTERS if item.pair is None else MAX_LETTERS_OF_PAIR
    message |= {"id": item.example.idx, "media": for_script(item.example.media, letters, parts)}
    if item.pair is not None:
        message["pair"] = {"id": item.pair.idx, "media": for_script(item.pair.media, letters, parts)}
    return message
