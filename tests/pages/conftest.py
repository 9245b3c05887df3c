"""Pages are driven through `app.py`, as people reach them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from streamlit.testing.v1 import AppTest

from trak_core.__main__ import cli
from trak_core.jobs import Jobs, JobStatus

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


def commands_on(app: AppTest) -> list[str]:
    """What the page says of the command line; nothing, because pages have buttons and fields for it all."""
    said = "\n".join([words(app), *(str(code.value) for code in app.code)])
    return re.findall(r".*(?:python -m|trak-core|streamlit run|(?<![\w-])--[a-z]).*", said)


def done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, what pages have done in the background is done at once, in this process."""
    said: dict[str, JobStatus] = {}

    def start(jobs: Jobs, key: str, arguments: list[str]) -> None:
        result = CliRunner().invoke(cli, arguments)
        failure = result.output.strip().removeprefix("error: ")
        said[key] = JobStatus("failed", message=failure) if result.exit_code else JobStatus("done")

    # Signals can be listened for in the main thread alone, and pages are drawn in another.
    monkeypatch.setattr("trak_core.commands.terminal.stop_when_asked", lambda: None)
    monkeypatch.setattr(Jobs, "start", start)
    monkeypatch.setattr(Jobs, "status", lambda jobs, key: said.get(key))


def successes(app: AppTest) -> str:
    """What the page says was done."""
    return re.sub(r"\u2060\\([!-/:-@\[-`{-~])", r"\1", "\n".join(str(each.value) for each in app.success))
