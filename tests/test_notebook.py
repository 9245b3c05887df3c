"""Results inside a notebook, and the notebook of the guides."""

import ast
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import trak_core as tc
from trak_core.errors import NotInRunError
from trak_core.folders import runs_dir

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "notebook.ipynb"
NASTY = '<script>alert("1")</script><img src=x onerror=alert(1)> & \u202e "quoted"'


def run_cells(notebook: dict[str, Any], names: dict[str, Any]) -> list[Any]:
    """Runs code cells one after the other; gives what each shows, the value of its last line if that has one."""
    shown = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        body = ast.parse("".join(cell["source"])).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), cell["id"], "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), cell["id"], "eval"), names))
    return shown


def test_the_notebook_runs_and_shows_its_results_inline(tmp_path, monkeypatch):
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRAK_RUNS_DIR", raising=False)
    names: dict[str, Any] = {}
    first, second, table, figure = run_cells(notebook, names)
    run, hardest = names["run"], names["hardest"]
    assert Path(names["path"]).resolve() == runs_dir() / "notebook"
    assert (run.info.n_train, run.info.n_test) == (1200, 100)
    assert first._repr_html_().count("<img ") == 1 + 6 + 6
    assert second._repr_html_().count("<img ") == 1 + 4 + 4
    assert second.explanation.target == 0
    strongest = run.proponents(hardest, k=1, target=first.explanation.target)
    assert first.explanation.proponents[0].example.idx == strongest["train_idx"][0]
    assert len(table) == 5
    assert len(figure.data[0].x) == 1200
    run.close()


def test_the_notebook_is_kept_without_results():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    for target in re.findall(r"\]\(([^)#:]+)\)", NOTEBOOK.read_text(encoding="utf-8")):
        assert (NOTEBOOK.parent / target).exists(), target


class Tags(HTMLParser):
    """The tags and the words of a page, as a browser takes them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def nasty_run(tmp_path):
    """A run of texts whose texts and class names are markup."""
    torch.manual_seed(0)
    train, test = (torch.randn(30, 4), torch.arange(30) % 2), (torch.randn(5, 4), torch.arange(5) % 2)
    attributor = tc.Attributor(nn.Linear(4, 2), "text_classification", progress=False).fit(train)
    attributor.save(
        tmp_path / "nasty",
        train=train,
        test=test,
        class_names=["<b>yes</b>", "no"],
        texts=([NASTY] * 30, [NASTY, "long " * 1000, "", "short", "short"]),
    )
    with tc.open_run(tmp_path / "nasty") as run:
        yield run


def test_text_of_data_never_becomes_markup_in_a_notebook(nasty_run):
    shown = tc.show(nasty_run, 0, k=3)._repr_html_()
    assert shown.startswith('<div class="tex2jax_ignore mathjax_ignore">')  # "$5 or $6" is no formula
    page = Tags(shown)
    assert {tag for tag, _ in page.tags} == {"div", "p", "strong"}
    assert {name for _, attributes in page.tags for name in attributes} == {"style", "class"}
    assert NASTY in page.words
    assert "<b>yes</b>" in page.words


def test_markup_in_a_label_stays_inside_the_text_of_a_picture(tmp_path):
    torch.manual_seed(0)
    data = (torch.rand(20, 1, 4, 4), torch.arange(20) % 2)
    attributor = tc.Attributor(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), progress=False).fit(data)
    attributor.save(tmp_path / "nasty", train=data, test=data, class_names=['"><script>', "no"])
    with tc.open_run(tmp_path / "nasty") as run:
        page = Tags(tc.show(run, 0, k=2)._repr_html_())
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 5
    assert pictures[0]["alt"] == 'test example 0, "><script>'
    assert all(set(picture) == {"src", "alt", "style"} for picture in pictures)
    assert all(str(picture["src"]).startswith("data:image/png;base64,") for picture in pictures)
    assert "script" not in {tag for tag, _ in page.tags}


def test_outside_a_notebook_an_explanation_is_lines_of_text(nasty_run):
    shown = tc.show(nasty_run, 3, k=2)
    lines = repr(shown).splitlines()
    assert lines[0].startswith("Test example 3, labelled no: the model says ")
    assert len(lines) == 1 + 2 * (1 + 2) + 2
    assert lines[-2] == "Scores by trak; trust in this explanation: not measured."
    assert "beaten the majority: accuracy" in lines[-1]
    best = shown.explanation.proponents[0]
    assert f"train {best.example.idx}, {best.example.label_name}" in lines[2]
    assert len(tc.show(nasty_run, 1, k=2)._repr_html_()) < 8_000  # long texts are cut


def test_an_explanation_of_a_number_has_no_classes(tmp_path):
    generator = np.random.default_rng(0)
    train = (generator.normal(size=(20, 3)).astype(np.float32), generator.normal(size=20).astype(np.float32))
    torch.manual_seed(0)
    tc.Attributor(nn.Linear(3, 1), "regression", progress=False).fit(train).save(
        tmp_path / "n", train=train, test=train
    )
    with tc.open_run(tmp_path / "n") as run:
        said = html.unescape(tc.show(run, 2)._repr_html_())
    assert f"Test example 2, target {train[1][2]:.4g}: the model says " in said
    assert "spoke for a higher answer" in said


def test_what_the_run_does_not_hold_is_refused(nasty_run):
    with pytest.raises(NotInRunError, match="no test example 5"):
        tc.show(nasty_run, 5)
