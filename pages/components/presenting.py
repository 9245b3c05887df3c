"""What a view needs to be read from the back of a room: large type, and the whole screen."""

import streamlit as st

from pages.components.plain_button import BUTTON_CSS

__all__ = ["full_screen_button", "large"]

_FULL_JS = """
export default function (component) {
  const button = component.parentElement.querySelector("button")
  const root = document.documentElement
  const name = () => { button.textContent = document.fullscreenElement ? "Leave full screen" : "Full screen" }
  button.onclick = async () => {
    if (document.fullscreenElement) await document.exitFullscreen()
    else await root.requestFullscreen()
    name()
  }
  document.addEventListener("fullscreenchange", name)
  name()
  return () => document.removeEventListener("fullscreenchange", name)
}
"""
_FULL = st.components.v2.component(
    "full_screen", html='<button type="button">Full screen</button>', css=BUTTON_CSS, js=_FULL_JS
)
_LARGE_JS = """
export default function (component) {
  const element = component.parentElement.querySelector("p")
  element.className = component.data.size
  element.setAttribute("role", component.data.size === "title" ? "heading" : "paragraph")
  if (component.data.size === "title") element.setAttribute("aria-level", "1")
  element.textContent = component.data.text
}
"""
_LARGE_CSS = """
p { margin: 0; font-family: var(--st-font); color: var(--st-text-color); overflow-wrap: anywhere; }
.title { font-size: clamp(1.8rem, 4vw, 3.2rem); font-weight: 650; line-height: 1.15; }
.lead { font-size: clamp(1.2rem, 2.2vw, 1.7rem); line-height: 1.35; }
.text { font-size: clamp(1.05rem, 1.7vw, 1.35rem); line-height: 1.35; }
"""
_LARGE = st.components.v2.component("large_text", html="<p></p>", css=_LARGE_CSS, js=_LARGE_JS)


def full_screen_button() -> None:
    """A button that gives the page the whole screen, and takes it back."""
    with st.container(width="content"):
        _FULL(key="full_screen")


def large(text: str, size: str) -> None:
    """Text that can be read from afar; shown letter by letter as it is, never as Markdown or HTML.

    Args:
        text: to show.
        size: "title", "lead" or "text".
    """
    _LARGE(key=f"large {size} {text[:40]}", data={"text": text, "size": size})
