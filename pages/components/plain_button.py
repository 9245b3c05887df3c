"""How a button of our own looks beside those of Streamlit."""

__all__ = ["BUTTON_CSS"]

BUTTON_CSS = """
button { font: inherit; font-family: var(--st-font); cursor: pointer; padding: 0.4rem 0.8rem; white-space: nowrap;
  color: var(--st-text-color); background: transparent; border: 1px solid var(--st-border-color);
  border-radius: var(--st-button-radius); }
button:hover, button:focus-visible { border-color: var(--st-primary-color); color: var(--st-primary-color); }
"""
"""For components that are one button."""
