"""Taking a view away: its address, and its numbers."""

from urllib.parse import urlencode

import streamlit as st

from trak_core.views import Explanation, explanation_csv

__all__ = ["explanation_download", "share_link"]

_JS = """
export default function (component) {
  const button = component.parentElement.querySelector("button")
  const link = window.location.origin + window.location.pathname + "?" + component.data.query
  const say = (text) => { button.textContent = text }
  button.onclick = async () => {
    try {
      await navigator.clipboard.writeText(link)
      say("Link copied")
    } catch {
      window.prompt("Copy this address", link)
    }
    setTimeout(() => say("Copy link"), 2000)
  }
}
"""
_CSS = """
button { font: inherit; font-family: var(--st-font); cursor: pointer; padding: 0.4rem 0.8rem;
  color: var(--st-text-color); background: transparent; border: 1px solid var(--st-border-color);
  border-radius: var(--st-button-radius); }
button:hover, button:focus-visible { border-color: var(--st-primary-color); color: var(--st-primary-color); }
"""
_COPY = st.components.v2.component("copy_link", html='<button type="button">Copy link</button>', css=_CSS, js=_JS)


def share_link(**state: object) -> None:
    """A button that copies the address of this very view.

    The address bar leaves out what is at its default, and defaults differ between machines (the first run, say); the
    copied address names the state given, and keeps the filters that the bar shows.

    Args:
        state: parameters of the address; those that are None are left out.
    """
    shown = {name: st.query_params.get_all(name) for name in st.query_params if name not in state}
    query = urlencode({**shown, **{name: str(value) for name, value in state.items() if value is not None}}, doseq=True)
    with st.container(width="content"):
        _COPY(key="copy_link", data={"query": query})


def explanation_download(explanation: Explanation) -> None:
    """A button that saves the proponents and opponents shown as CSV."""
    st.download_button(
        "Download CSV",
        data=lambda: explanation_csv(explanation),
        file_name=f"explanation_test_{explanation.example.idx}.csv",
        mime="text/csv",
        on_click="ignore",
    )
