"""A gallery of examples: one component with real buttons, whatever the number of items.

One widget a thumbnail would cost a browser message each; this sends all items in one. Text from data sets reaches the
page through `textContent` and attributes only, never as HTML.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from pages.components.images import data_uri
from pages.components.links import FOLLOW_JS
from pages.components.view import Picture, Pictures, note
from trak_core.views import Example

__all__ = ["MAX_ITEMS", "GalleryItem", "gallery"]

MAX_ITEMS = 60
MAX_LETTERS = 400
"""Of a text: more than its button has room for."""

_CSS = """
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(var(--cell), 1fr)); gap: 8px; padding: 3px;
  font-family: var(--st-font); }
.gallery.strip { display: flex; overflow-x: auto; padding-bottom: 10px; scrollbar-width: thin; }
button, a { all: unset; min-width: 0; box-sizing: border-box; cursor: pointer; display: flex; flex-direction: column;
  align-items: center; flex: none; border-radius: var(--st-base-radius); padding: 4px;
  border: 1px solid var(--st-border-color); background: var(--st-secondary-background-color);
  color: var(--st-text-color); }
button:hover, a:hover { border-color: var(--st-primary-color); }
button:focus-visible, a:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
button[aria-pressed="true"] { border-color: var(--st-primary-color); box-shadow: 0 0 0 1px var(--st-primary-color); }
img { display: block; image-rendering: pixelated; border-radius: 3px; background: white; object-fit: contain; }
.text { overflow: hidden; overflow-wrap: anywhere; font-size: 0.8rem; line-height: 1.25; text-align: left; }
.score { font-size: 0.85rem; font-weight: 600; font-variant-numeric: tabular-nums; margin-top: 3px; }
.score.proponent { color: var(--st-blue-color); }
.score.opponent { color: var(--st-orange-color); }
.caption { font-size: 0.75rem; margin-top: 1px; max-width: 100%; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; unicode-bidi: isolate; }
.strip .caption { max-width: 110px; }
.badge { font-size: 0.7rem; padding: 0 4px; border-radius: 3px; background: var(--st-primary-color);
  color: var(--st-background-color); }
mark { background: transparent; color: inherit; font-weight: 700; text-decoration: underline;
  text-decoration-color: var(--st-primary-color); text-decoration-thickness: 2px; text-underline-offset: 2px; }
.chosen { outline: 3px double var(--st-primary-color); outline-offset: -1px; }
.chosen::after { content: "✓ picked"; font-size: 0.7rem; color: var(--st-primary-color); }
.caption.other { border-bottom: 2px dotted currentColor; }
"""

_JS = """
function fill(element, words, marked) {
  // Words shared with the explained text are marked; all text goes in as text, never as HTML.
  for (const part of words.split(/([\\p{L}\\p{N}_]+)/u)) {
    if (marked.has(part.toLowerCase())) {
      const mark = document.createElement("mark")
      mark.textContent = part
      element.append(mark)
    } else {
      element.append(part)
    }
  }
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".gallery")
  root.className = data.strip ? "gallery strip" : "gallery"
  root.setAttribute("role", "group")
  root.setAttribute("aria-label", data.label)
  const is_text = data.items.some((item) => !item.image)
  root.style.setProperty("--cell", (is_text ? 150 : data.size + 10) + "px")
  root.replaceChildren()
  const current = Math.max(0, data.items.findIndex((item) => item.id === data.selected))
  const buttons = data.items.map((item, place) => {
    const button = document.createElement(item.href ? "a" : "button")
    if (item.href) button.href = item.href
    else button.type = "button"
    button.tabIndex = place === current ? 0 : -1
    button.setAttribute("aria-label", item.name)
    if (!item.href) button.setAttribute("aria-pressed", String(item.id === data.selected))
    button.title = item.name
    button.dataset.id = item.id
    if (item.image) {
      const image = document.createElement("img")
      image.src = item.image
      image.alt = ""
      image.width = image.height = data.size
      button.append(image)
    } else {
      const text = document.createElement("div")
      text.className = "text"
      text.style.width = data.strip ? data.size * 2 + "px" : "100%"
      text.style.height = (data.strip ? data.size : Math.max(data.size, 82)) + "px"
      fill(text, item.text, new Set(data.marked))
      button.append(text)
    }
    if (item.score) {
      const score = document.createElement("div")
      score.className = "score " + item.side
      score.textContent = item.score
      button.append(score)
    }
    if (item.caption) {
      const caption = document.createElement("div")
      caption.className = item.other ? "caption other" : "caption"
      caption.textContent = item.caption
      button.append(caption)
    }
    if (item.badge) {
      const badge = document.createElement("div")
      badge.className = "badge"
      badge.textContent = item.badge
      button.append(badge)
    }
    if (item.chosen) button.classList.add("chosen")
    // With the Alt key, or P on the keyboard, an example is put aside rather than opened.
    button.onclick = (event) => {
      if (event.altKey && data.can_choose) setTriggerValue("chosen", item.id)
      else if (!item.href) setTriggerValue("picked", item.id)
      else follow(event, item.href)
    }
    root.append(button)
    return button
  })
  root.onkeydown = (event) => {
    if (event.key.toLowerCase() === "p" && data.can_choose && event.target.dataset.id !== undefined) {
      event.stopPropagation()
      setTriggerValue("chosen", Number(event.target.dataset.id))
      return
    }
    const place = buttons.indexOf(event.target)
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key]
    const next = event.key === "Home" ? 0 : event.key === "End" ? buttons.length - 1 : place + step
    if (place < 0 || Number.isNaN(next) || !buttons[next]) return
    event.preventDefault()
    buttons[place].tabIndex = -1
    buttons[next].tabIndex = 0
    buttons[next].focus()
  }
  if (data.strip && buttons[current]) {
    const button = buttons[current]
    root.scrollLeft = button.offsetLeft - root.offsetLeft - root.clientWidth / 2 + button.offsetWidth / 2
  }
}
"""

_COMPONENT = st.components.v2.component("gallery", html='<div class="gallery"></div>', css=_CSS, js=FOLLOW_JS + _JS)


@dataclass(frozen=True)
class GalleryItem:
    """One button of a gallery.

    Attributes:
        example: what it shows.
        name: what a screen reader says and the pointer shows.
        caption: below the image.
        score: below the image, with its sign.
        side: "proponent" or "opponent", the colour of the score.
        other: True marks an example of another class than the one that is explained.
        chosen: True marks an example that was put aside.
        badge: a word or two in the corner.
    """

    example: Example
    name: str
    caption: str = ""
    score: str = ""
    side: str = ""
    other: bool = False
    chosen: bool = False
    badge: str = ""


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
        note(key, Pictures(label, tuple(_picture(item) for item in items[:MAX_ITEMS])))
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


def _picture(item: GalleryItem) -> Picture:
    captions = tuple(caption for caption in (item.score, item.caption) if caption)
    return Picture(item.example.thumbnail, item.example.text or "", captions)


def _item(item: GalleryItem, link: Callable[[int], str] | None) -> dict[str, object]:
    example = item.example
    return {
        "id": example.idx,
        "href": link(example.idx) if link is not None else None,
        "image": data_uri(example.thumbnail) if example.thumbnail else None,
        "text": (example.text or "")[:MAX_LETTERS],
        "name": item.name,
        "caption": item.caption,
        "score": item.score,
        "side": item.side,
        "other": item.other,
        "chosen": item.chosen,
        "badge": item.badge,
    }
