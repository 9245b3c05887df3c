"""A gallery of examples: one component with real buttons, whatever the number of items.

One widget a thumbnail would cost a browser message each; this sends all items in one. Text from data sets reaches the
page through `textContent` and attributes only, never as HTML.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from pages.components.assets import asset
from pages.components.media import for_script
from pages.components.view import Card, Cards, note
from trak_core.views.examples import Example

MAX_ITEMS = 60
MAX_LETTERS = 400
"""Of a text: more than its button has room for."""

_COMPONENT = st.components.v2.component(
    "gallery",
    html='<div class="gallery"></div>',
    css=asset("gallery.css"),
    js=asset("elements.js", "follow.js", "gallery.js"),
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
    chosen: bool = False  # True marks an example that was put aside
    badge: str = ""  # a word or two in the corner


def gallery(
    label: str,
    items: Sequence[GalleryItem],
    *,
    key: str,
    on_pick: Callable[[int], None] | None = None,
    link: Callable[[int], str] | None = None,
    selected: int | None = None,
    size: int = 64,
    strip: bool = False,
    on_choose: Callable[[int], None] | None = None,
    marked: Sequence[str] = (),
) -> None:
    """Shows up to 60 examples as buttons.

    Args:
        label: what the gallery is, for screen readers.
        items: in order.
        key: of the component.
        on_pick: called with the idx of the example that was clicked, before the page is drawn again.
        link: in its place, gives the address within the app that a click on an example leads to: `page_address`.
        selected: idx of the example to mark.
        size: of an image, in pixels.
        strip: True for a single row that scrolls sideways.
        on_choose: called with the idx of an example that was clicked with Alt, or for which P was pressed.
        marked: words to mark in texts, in small letters.
    """

    def picked() -> None:
        chosen = st.session_state[key].picked
        if chosen is not None and on_pick is not None:
            on_pick(int(chosen))

    def chosen() -> None:
        put_aside = st.session_state[key].chosen
        if put_aside is not None and on_choose is not None:
            on_choose(int(put_aside))

    if not strip:  # a strip is for finding one's way and no part of the view
        note(key, Cards(label, tuple(_card(item) for item in items[:MAX_ITEMS])))
    _COMPONENT(
        key=key,
        data={
            "label": label,
            "size": size,
            "strip": strip,
            "selected": selected,
            "marked": list(marked),
            "can_choose": on_choose is not None,
            "items": [_item(item, link) for item in items[:MAX_ITEMS]],
        },
        on_picked_change=picked,
        on_chosen_change=chosen,
    )


def _card(item: GalleryItem) -> Card:
    return Card(item.example.media, tuple(caption for caption in (item.score, item.caption) if caption))


def _item(item: GalleryItem, link: Callable[[int], str] | None) -> dict[str, object]:
    example = item.example
    return {
        "id": example.idx,
        "href": link(example.idx) if link is not None else None,
        "media": for_script(example.media, MAX_LETTERS),
        "name": item.name,
        "caption": item.caption,
        "score": item.score,
        "side": item.side,
        "other": item.other,
        "chosen": item.chosen,
        "badge": item.badge,
    }
