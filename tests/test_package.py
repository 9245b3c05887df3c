"""The package, installed from a copy of the checkout into a folder of its own."""

import importlib.metadata
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import trak_core
from tests.installed import ROOT, Installed
from trak_core import __main__ as command_line

pytestmark = pytest.mark.slow


def files_below(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_it_is_imported_from_anywhere(installed: Installed):
    where, name, version = installed.python(
        "import trak_core; print(trak_core.__file__, trak_core.Attributor.__name__, trak_core.__version__, sep='\\n')"
    )
    assert where == str(installed.site / "trak_core" / "__init__.py")
    assert (name, version) == ("Attributor", trak_core.__version__)


def test_it_takes_no_name_that_others_may_use(installed: Installed):
    tops = {path.name for path in installed.site.iterdir() if path.suffix != ".dist-info"}
    assert tops == {"bin", "trak_core", "trak_explorer"}
    names = ("pages", "app", "tests", "setup")
    found = installed.python(f"import importlib.util as u; print([name for name in {names} if u.find_spec(name)])")
    assert found == ["[]"]


def test_every_file_of_the_program_travels_and_nothing_else(installed: Installed):
    assert files_below(installed.site / "trak_core") == files_below(ROOT / "trak_core")
    explorer = installed.site / "trak_explorer"
    assert files_below(explorer / "pages") == files_below(ROOT / "pages")
    assert {path.name for path in explorer.iterdir()} - {"__pycache__"} == {"app.py", "pages", ".streamlit"}
    config = Path(".streamlit", "config.toml")
    assert (explorer / config).read_bytes() == (ROOT / config).read_bytes()


def test_it_asks_for_what_the_requirements_pin(installed: Installed):
    (info,) = importlib.metadata.distributions(name="trak-explorer", path=[str(installed.site)])
    asked = info.requires or []
    pins = {
        name: {line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if "==" in line}
        for name in ("requirements.txt", "requirements-dev.txt")
    }
    assert {one for one in asked if "extra" not in one} == pins["requirements.txt"]
    assert {one.partition(";")[0] for one in asked if 'extra == "dev"' in one} == pins["requirements-dev.txt"]
    for extra in ("cleanlab", "traker"):
        (one,) = (one for one in asked if f'extra == "{extra}"' in one)
        assert one.startswith(f"{extra}==")


def test_the_command_line_keeps_runs_in_the_folder_where_it_is_started(installed: Installed):
    said = subprocess.run(
        installed.script("trak-core", "runs"),
        cwd=installed.elsewhere,
        env=installed.environment,
        capture_output=True,
        text=True,
    )
    assert said.stdout.startswith(f"No run in {installed.elsewhere / 'data' / 'runs'} yet"), said.stderr


def test_the_command_line_looks_for_networks_in_the_current_folder(tmp_path, monkeypatch):
    """As `python -m trak_core` does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["trak-core", "recipes"])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 0
    assert sys.path[0] == str(tmp_path)


def test_the_explorer_draws_its_pages_where_it_is_installed(installed: Installed):
    lines = installed.python(
        "import json, sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        "from trak_explorer.pages.components.start import APP\n"
        "sys.path.insert(0, str(APP.parent))\n"  # as `streamlit run` does
        "app = AppTest.from_file(str(APP), default_timeout=60)\n"
        "app.switch_page('pages/runs.py').run()\n"
        "import pages\n"
        "print(json.dumps([str(APP), pages.__file__, [e.value for e in app.exception], len(app.main.children)]))"
    )
    where, pages, exceptions, n_elements = json.loads(lines[-1])
    explorer = installed.site / "trak_explorer"
    assert (where, pages) == (str(explorer / "app.py"), str(explorer / "pages" / "__init__.py"))
    assert (exceptions, n_elements > 0) == ([], True)


def test_the_explorer_answers_wherever_it_is_started(installed: Installed, tmp_path):
    with installed.explorer(installed.elsewhere, tmp_path / "log") as address:
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert answer.status == 200
    # The address of .streamlit/config.toml: an explorer that did not find it would listen to everybody.
    assert f"URL: {address}" in (tmp_path / "log").read_text(encoding="utf-8")
    assert not (installed.elsewhere / "data").exists()
