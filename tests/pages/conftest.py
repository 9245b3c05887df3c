"""Pages are driven through `app.py`, as people reach them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[2]

OpenPage = Callable[..., AppTest]


@pytest.fixture
def open_page() -> OpenPage:
    """Opens a page by its file name, with parameters of the address."""

    def opened(page: str, **address: str) -> AppTest:
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
        for name, value in address.items():
            app.query_params[name] = value
        app.run()
        if page != "home":
            app.switch_page(f"pages/{page}.py").run()
        return app

    return opened


def words(app: AppTest) -> str:
    """Everything that the page says, as a person reads it: without what escapes Markdown."""
    kinds = ("title", "header", "subheader", "markdown", "text", "caption", "info", "warning", "error")
    said = "\n".join(str(element.value) for kind in kinds for element in app.get(kind))
    return re.sub(r"\u2060\\([!-/:-@\[-`{-~])", r"\1", said)
