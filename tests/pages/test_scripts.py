"""Scripts, styles and HTML of components lie in files of their own, and every one is sound and used."""

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pages.components.assets import asset

PAGES = Path(__file__).resolve().parents[2] / "pages"
SOURCES = sorted(PAGES.rglob("*.py"))
ASSETS = sorted(path for path in PAGES.rglob("*") if path.suffix in (".js", ".css", ".html"))
SCRIPT = re.compile(
    r"=>|\bexport\s+default\b|\bfunction\s*\w*\s*\(|\b(?:const|let|var)\s+(?:\w+|{[^}]*}|\[[^]]*\])\s*=(?!=)"
    r"|\b(?:document|window)\.\w|\bon[a-z]+=[\"']"
)
STYLE = re.compile(r"\{\s*[a-z-]+\s*:[^{}]*;")
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed; Chromium alone reads the scripts")


def name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def calls(path: Path, name: str) -> Iterator[ast.Call]:
    """All calls of what has this name, in whatever module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and name_of(node.func) == name:
            yield node


def asked_for() -> list[tuple[str, ...]]:
    """The names of files in every call of `asset`."""
    return [tuple(ast.literal_eval(name) for name in call.args) for path in SOURCES for call in calls(path, "asset")]


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and value of every string, pieces of f-strings among them, but for strings that only document."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documenting = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documenting:
            yield node.lineno, node.value


def run_node(directory: Path, program: str) -> object:
    """What a program prints, read as JSON."""
    (directory / "main.mjs").write_text(program, encoding="utf-8")
    ran = subprocess.run([NODE, directory / "main.mjs"], capture_output=True, text=True, cwd=directory)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


SCRIPTS = sorted({names for names in asked_for() if names[-1].endswith(".js")})


def test_no_python_file_of_pages_holds_a_script_or_a_style_sheet():
    found = [
        f"{path.relative_to(PAGES)}:{line}: {text.strip()[:60]}"
        for path in SOURCES
        for line, text in texts(path)
        if SCRIPT.search(text) or STYLE.search(text)
    ]
    assert found == []


def test_components_take_scripts_and_styles_from_files_only():
    components = [call for path in SOURCES for call in calls(path, "component")]
    assert components
    for call in components:
        for part in call.keywords:
            if part.arg in ("js", "css"):
                assert isinstance(part.value, ast.Call) and name_of(part.value.func) == "asset", ast.unparse(call)


def test_what_would_break_the_rule_is_seen():
    for script in (
        "export default function (component) {}",
        "button.onclick = () => go()",
        "function go(x) { return x }",
        "window.location = href",
        "let {x, y} = place",
        '<button onclick="go()">',
    ):
        assert SCRIPT.search(script)
    assert STYLE.search("p { margin: 0; }")
    for words in ("a function of the data", "in this window. It", "let us see: n = 3", "100 of {n}: all; none"):
        assert not SCRIPT.search(words)
        assert not STYLE.search(words)


def test_every_file_is_used_and_every_file_asked_for_is_there():
    used = {PAGES / "components" / name for names in asked_for() for name in names}
    assert used == set(ASSETS)


def test_no_file_of_pages_is_longer_than_400_lines():
    long = [path.name for path in [*SOURCES, *ASSETS] if len(path.read_text(encoding="utf-8").splitlines()) > 400]
    assert long == []


@needs_node
@pytest.mark.parametrize("path", [path for path in ASSETS if path.suffix == ".js"], ids=lambda path: path.name)
def test_a_script_parses(path, tmp_path):
    module = tmp_path / "script.mjs"
    shutil.copy(path, module)
    checked = subprocess.run([NODE, "--check", module], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


@needs_node
@pytest.mark.parametrize("names", SCRIPTS, ids=lambda names: names[-1])
def test_files_together_make_a_component(names, tmp_path):
    """A name that two of them declare, or none or two with `export default`, is an error of the whole."""
    (tmp_path / "script.mjs").write_text(asset(*names), encoding="utf-8")
    assert run_node(tmp_path, 'import make from "./script.mjs"; console.log(JSON.stringify(typeof make))') == "function"


@needs_node
def test_places_of_points_against_numpy(tmp_path):
    xy = np.random.default_rng(3).normal(size=(200, 2)).astype(np.float32)
    (tmp_path / "view.mjs").write_text(
        asset("scatter_view.js") + "export { whole_view, zoomed_view, nearest, next_point }", encoding="utf-8"
    )
    view, zoomed, *found = run_node(
        tmp_path,
        f"""
        import {{ whole_view, zoomed_view, nearest, next_point }} from "./view.mjs"
        const xy = Float32Array.from({json.dumps(xy.ravel().tolist())}), view = whole_view(xy, 640, 520)
        const zoomed = zoomed_view(view, 3, 100, 200)
        const found = [nearest(xy, zoomed, 100, 200, 1e9), nearest(xy, view, -99, -99, 12)]
        console.log(JSON.stringify([view, zoomed, ...found, next_point(xy, view, 0, 1, 0)]))
        """,
    )

    def screen(view: dict[str, float]) -> np.ndarray:
        exact = xy.astype(np.float64)
        return np.column_stack([exact[:, 0] * view["scale"] + view["left"], view["top"] - exact[:, 1] * view["scale"]])

    places = screen(view)
    low, high = places.min(0), places.max(0)
    assert low.min() == pytest.approx(16)
    assert low + high == pytest.approx(np.array([640, 520]))
    assert screen(zoomed) == pytest.approx(3 * (places - [100, 200]) + [100, 200])  # (100, 200) stays where it is
    to_right = places - places[0]
    cost = np.where((to_right[:, 0] > 0) & (np.abs(to_right[:, 1]) <= to_right[:, 0]), (to_right**2).sum(1), np.inf)
    assert found == [int(((places - [100, 200]) ** 2).sum(1).argmin()), -1, int(cost.argmin())]
