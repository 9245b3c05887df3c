"""Every page over runs of more than toy size, written without training."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.generated import MEDIUM, SMALL, write_run
from tests.pages.conftest import ROOT
from trak_core.store import run as store_run
from trak_core.store.run import open_run
from trak_core.views.browse import overview

PAGES = ["home", "explore", "training_item", "map", "evidence", "review", "runs"]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one small generated run."""
    directory = tmp_path_factory.mktemp("generated")
    write_run(directory / "small", SMALL)
    return directory


@pytest.fixture
def generated_runs(generated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAK_RUNS_DIR", str(generated))
    return generated


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_a_generated_run(generated_runs, open_page, page):
    app = open_page(page, run="small", test="5", train="7")
    assert not app.exception
    assert not app.error


def test_a_generated_run_is_the_same_from_the_same_seed_and_agrees_with_itself(generated, tmp_path):
    write_run(tmp_path / "again", SMALL)
    with open_run(generated / "small") as run, open_run(tmp_path / "again") as again:
        assert (run.scores("trak") == again.scores("trak")).all()
        assert run.rows("SELECT thumbnail FROM examples ORDER BY ALL") == again.rows(
            "SELECT thumbnail FROM examples ORDER BY ALL"
        )
        first = run.rows("SELECT train_idx FROM topk WHERE method = 'trak' AND test_idx = 3 AND side = 'proponent'")
        assert [idx for (idx,) in first] == run.proponents(3, k=100)["train_idx"].tolist()
        matrix = run.arrow("SELECT \"values\" FROM class_influence WHERE method = 'trak' AND test_class = 2")
        assert matrix.num_rows == 1
        tests = overview(run)
        assert 0.5 < (tests.predicted == tests.labels).mean() < 1.0
        assert 0.3 < run.lds().mean < run.lds().noise_ceiling


@pytest.mark.slow
def test_a_click_at_medium_size_reads_little_and_never_all_scores(tmp_path, monkeypatch, open_page):
    """Bounds on the queries of one page and on the processor time of one answer: generous, since machines are busy."""
    write_run(tmp_path / "medium", MEDIUM)
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path))
    app = open_page("explore", run="medium", test="5")
    asked: list[str] = []
    for name in ("rows", "columns", "arrow"):
        original = getattr(store_run.Run, name)

        def counted(self, query, params=(), original=original):
            asked.append(query)
            return original(self, query, params)

        monkeypatch.setattr(store_run.Run, name, counted)
    monkeypatch.setattr(store_run.Run, "scores", lambda *_: pytest.fail("a page read the whole matrix of scores"))
    for page in PAGES:
        if page != "home":
            app.switch_page(f"pages/{page}.py").run()
        for test_idx in (7, 8):
            asked.clear()
            began = time.process_time()
            app.session_state["test"] = test_idx
            app.run()
            assert not app.exception
            assert len(asked) <= 80, f"{page} asks {len(asked)} queries"
            assert time.process_time() - began < 5.0


def test_every_page_of_the_program_is_tried():
    assert {path.stem for path in (ROOT / "pages").glob("*.py")} - {"__init__", "present"} == set(PAGES)


def test_the_first_page_does_not_wait_for_libraries_of_computing():
    views = ", ".join(f"trak_core.views.{path.stem}" for path in (ROOT / "trak_core/views").glob("[a-z]*.py"))
    code = f"import sys, {views}; print({{'torch', 'scipy', 'sklearn', 'umap', 'numba'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
