"""Every page shows a run of imported scores, with and without what its model answers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import trak_core as tc
from tests.pages.conftest import commands_on, words
from trak_core.modalities import RawData, RawSplit

N_TRAIN, N_TEST = 40, 12
PAGES = ("home", "explore", "training_item", "map", "evidence", "review", "present", "runs")


def raw_data(modality: str) -> RawData:
    generator = np.random.default_rng(0)

    def part(n: int) -> RawSplit:
        labels = np.arange(n) % 3
        if modality == "text":
            return RawSplit([f"text {i} of class {label}" for i, label in enumerate(labels)], labels)
        return RawSplit(generator.integers(0, 256, (n, 8, 8, 1), dtype=np.uint8), labels)

    return RawData(
        "things", "text" if modality == "text" else "image", ("ant", "bee", "cat"), part(N_TRAIN), part(N_TEST)
    )


def import_into(directory: Path, modality: str, with_answers: bool) -> tc.Imported:
    raw = raw_data(modality)
    generator = np.random.default_rng(1)
    own = raw.test.labels[:, None] == raw.train.labels[None]
    scores = generator.normal(size=(N_TEST, N_TRAIN)) + 2 * own
    answers = np.full((N_TEST, 3), 0.2)
    answers[np.arange(N_TEST), (raw.test.labels + (np.arange(N_TEST) == 5)) % 3] = 0.6  # example 5 is mistaken
    return tc.import_scores(scores, raw, "things", predictions=answers if with_answers else None)


@pytest.fixture(params=["image", "text"])
def modality(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    yield tmp_path / "runs"


@pytest.mark.parametrize("with_answers", [False, True])
def test_every_page_opens(directory, open_page, modality, with_answers):
    import_into(directory, modality, with_answers)
    for page in PAGES:
        app = open_page(page, run="things", picked="1.2")
        assert not app.exception, page
        assert not commands_on(app), page
        assert not app.error, page
        assert "nan" not in words(app).lower().replace("explanan", ""), page


def test_explore_says_that_the_answer_is_not_known(directory, open_page, modality):
    import_into(directory, modality, with_answers=False)
    app = open_page("explore", run="things", test="5")
    said = words(app)
    assert "Its label is “cat”; what the model answered is not in this run." in said
    assert "Model: not known" in said
    assert not [one for one in app.toggle if one.key == "mistakes"]
    assert not [one for one in app.slider if one.key == "confidence"]
    assert "Nothing was retrained to check this." in said


def test_explore_begins_with_the_mistake_where_answers_came_along(directory, open_page, modality):
    import_into(directory, modality, with_answers=True)
    said = words(open_page("explore", run="things"))
    assert "The model calls this “ant”, 60% sure, but its label is “cat”." in said
    assert "Test example 5" in said


def test_picked_examples_predict_nothing_without_a_unit(directory, open_page, modality):
    import_into(directory, modality, with_answers=False)
    app = open_page("explore", run="things", test="5", picked="1,2")
    app.button(key="pick Top 10 proponents").click().run()
    assert not app.exception
    said = words(app)
    assert "Scores of this method have no unit" in said
    assert "was imported from scores made elsewhere: its models cannot be retrained here" in said


def test_pages_say_why_there_is_no_map_no_evidence_and_no_suspects(directory, open_page):
    import_into(directory, "image", with_answers=False)
    assert "this run holds scores alone" in words(open_page("map", run="things"))
    assert "It was imported from scores made elsewhere." in words(open_page("evidence", run="things"))
    assert "It was imported from scores made elsewhere; suspects are found" in words(open_page("review", run="things"))
    assert "Similar training examples" not in words(open_page("training_item", run="things"))
