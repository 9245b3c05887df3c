"""Wherever trust stands on a page, the page says too whether the models have learnt anything."""

from pathlib import Path

import pytest

from pages.components.export import html_page
from tests.blind_runs import BLIND, NOT_SHOWN, UNLEARNT, not_beaten
from tests.pages.conftest import words
from trak_core.store.run import open_run
from trak_core.views.run_card import FAITHFUL_ALONE

TRUSTED = ("high", "moderate")
MARK = "red-badge[:material/warning: models: no better than"


@pytest.fixture
def shown(truth_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAK_RUNS_DIR", str(truth_runs))
    return truth_runs


@pytest.mark.parametrize("name", UNLEARNT)
def test_explore_makes_both_statements(shown, open_page, name):
    app = open_page("explore", run=name, test="5", compare="Random")
    assert not app.exception
    said = words(app)
    assert not_beaten(name) in said
    mark = "orange-badge[:material/warning: models: not shown to beat" if name in NOT_SHOWN else MARK
    assert f":{mark} a guess]" in said
    if name in BLIND:
        assert not any(f"trust: {level}" in said for level in TRUSTED)
        assert "so that nothing in it is behind the answer" in said or "nothing in them is behind the answer" in said


def test_explore_shows_the_lds_that_trust_goes_by(shown, open_page):
    with open_run(shown / "unknown") as run:
        assert run.targets(5)[0] == "bad"
        lds, fixed = run.rows("SELECT lds, lds_fixed FROM lds WHERE method = 'trak' AND test_idx = 5")[0]
    said = words(open_page("explore", run="unknown", test="5", target="bad"))
    assert f"LDS {lds:.2f}" in said and f"At fixed class counts: LDS {fixed:.2f} (" in said


@pytest.mark.parametrize("page", ["home", "evidence", "present", "training_item"])
@pytest.mark.parametrize("name", ["learnt", "zeroed"])
def test_every_other_page_says_it(shown, open_page, page, name):
    app = open_page(page, run=name)
    assert not app.exception
    said = words(app)
    assert f"The models have {'not ' if name == 'zeroed' else ''}beaten the majority: accuracy 0." in said
    of_cards = len(UNLEARNT) - len(NOT_SHOWN) if page == "home" else 0
    assert said.count("no better than a guess") == of_cards + (name == "zeroed")
    if name == "zeroed":
        assert not any(f"trust: {level}" in said for level in TRUSTED)


def test_home_says_it_of_every_run(shown, open_page):
    said = words(open_page("home", run="learnt"))
    assert said.count("The models have not beaten the majority") == len(UNLEARNT) - len(NOT_SHOWN)
    assert said.count("The models have not been shown to beat the majority") == len(NOT_SHOWN)


@pytest.mark.parametrize("page", ["home", "runs"])
def test_the_card_of_a_run_says_the_truth_before_its_lds_and_marks_it(shown, open_page, page):
    app = open_page(page, run="learnt")
    assert not app.exception
    captions = [caption.value.replace("\u2060\\", "") for caption in app.caption]
    lines = [line for line in captions if line.startswith(("The models have", "Trust in", ":material/warning:"))]
    cards: list[list[str]] = []
    for line in lines:
        cards.append([line]) if line.startswith("The models have") else cards[-1].append(line)
    of_runs = dict(zip(sorted(("learnt", *UNLEARNT)), cards, strict=False))  # Home says more below its cards
    for name in UNLEARNT:
        learnt, *doubts, trust = of_runs[name]
        assert learnt.startswith(not_beaten(name))
        assert doubts[-1] == f":material/warning: {FAITHFUL_ALONE}"
        assert trust.startswith("Trust in explanations by TRAK: ") and " LDS " in trust
        if name in BLIND:
            assert trust.startswith("Trust in explanations by TRAK: low 100%. LDS ")
    assert "The models see nothing of their inputs" in of_runs["zeroed"][1]
    assert FAITHFUL_ALONE not in " ".join(of_runs["learnt"])
    assert words(app).count("no better than a guess") == len(UNLEARNT) - len(NOT_SHOWN)
    assert words(app).count("not shown to beat a guess") == len(NOT_SHOWN)


def test_models_that_see_nothing_are_not_praised(shown, open_page):
    said = words(open_page("home", run="zeroed"))
    assert "A mistake and what is behind it" in said and "The surest answer that is right" in said
    assert not any(title in said for title in ("A confident hit", "Looks mislabelled", "A near-duplicate"))
    assert "close to the best possible" not in words(open_page("evidence", run="zeroed"))


@pytest.mark.parametrize("page", ["map", "review"])
def test_pages_that_stand_on_the_models_say_where_these_have_learnt_nothing(shown, open_page, page):
    assert "The models have not beaten the majority" in words(open_page(page, run="shuffled"))
    assert "beaten the majority" not in words(open_page(page, run="learnt"))


@pytest.mark.parametrize("page", ["explore", "present", "training_item", "evidence"])
def test_a_view_that_is_taken_away_says_it_too(shown, open_page, page):
    app = open_page(page, run="zeroed")
    taken = html_page("view", list(app.session_state["shown on this page"].values())).decode()
    assert taken.count("The models have not beaten the majority: accuracy 0.15") == 1
    if page in ("explore", "present"):
        assert "Trust: low" in taken and "nothing in it is behind the answer" in taken
