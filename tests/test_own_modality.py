"""A modality and a task that lie in a subject file: what the explorer says of them, and of inputs that they fail on."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import trak_core as tc
from tests.pages.conftest import words
from trak_core import registering
from trak_core.errors import InvalidDataError, InvalidSettingError, LabelError
from trak_core.live.new_input import explain_new
from trak_core.modalities import MODALITIES, find_modality, register_modality
from trak_core.subjects import subject_file
from trak_core.subjects.of_run import new_input_reader
from trak_core.subjects.subject_file import read_subject_file
from trak_core.tasks import TASKS, find_task, register_task

CONTENT = Path(__file__).with_name("series_subject.py").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with the runs "classes" and "counts", each from its subject file, which lies beside it."""
    folder = tmp_path_factory.mktemp("series")
    sizes = {"n_checkpoints": 2, "n_subsets": 20, "n_seeds": 2, "progress": False, "device": "cpu"}
    for name, has_classes in (("classes", True), ("counts", False)):
        file = folder / f"{name}.py"
        file.write_text(CONTENT.replace("N_IDS, HAS_CLASSES = 20, True", f"N_IDS, HAS_CLASSES = 20, {has_classes}"))
        tc.build(read_subject_file(file), name, runs_dir=folder, **sizes)
    yield folder
    MODALITIES.pop("series", None)
    TASKS.pop("poisson", None)


def test_inputs_that_the_model_cannot_take_are_refused_in_a_sentence_and_the_next_ones_scored(runs: Path):
    with tc.open_run(runs / "classes") as run:
        says = r"^scoring inputs \[1, 6\] from 77 to 77 fails with IndexError: .*; give inputs .* \[m, 6\] as .*\.$"
        for labels in (None, [1]):
            with pytest.raises(InvalidDataError, match=says):
                run.attribute(np.full((1, 6), 77), labels)
        assert np.isfinite(run.attribute(np.full((2, 6), 7))).all()


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("77 77 77 77 77 77", r"scoring inputs \[1, 6\] from 77 to 77 fails with IndexError"),
        ("one two", "reading a new series fails with ValueError: .*; give another series"),
    ],
)
def test_what_own_code_fails_on_in_a_new_input_is_said_in_a_sentence(runs: Path, typed: str, says: str):
    with tc.open_run(runs / "classes") as run, pytest.raises(InvalidDataError, match=says):
        explain_new(run, {"series": typed})


def panel() -> None:
    """The panel alone, as a page would show it."""
    import os
    from pathlib import Path

    from pages.components.new_input import new_input_panel
    from pages.components.view import begin_view
    from trak_core.store.run import open_run

    begin_view()
    with open_run(Path(os.environ["SERIES_RUN"])) as run:
        new_input_panel(run)


@pytest.fixture
def shown(runs: Path, monkeypatch: pytest.MonkeyPatch):
    def show(name: str) -> AppTest:
        monkeypatch.setenv("SERIES_RUN", str(runs / name))
        return AppTest.from_function(panel, default_timeout=60).run()

    return show


def test_the_panel_shows_the_sentence_and_no_exception(shown):
    app = shown("classes")
    app.text_input(key="new series type").set_value("77 1 2 3 4 5").run()
    assert not app.exception and "fails with IndexError" in words(app)


def test_a_run_without_classes_says_at_once_that_its_inputs_are_explained_from_python(shown):
    app = shown("counts")
    assert not app.text_input
    says = (
        "this run has none, so give a new input from Python, as inputs: trak_core.open_run('counts').attribute(inputs)"
    )
    assert says in words(app)


def test_a_run_without_classes_explains_its_answers_and_takes_no_labels(runs: Path):
    with tc.open_run(runs / "counts") as run:
        assert np.isfinite(run.attribute(np.full((2, 6), 7))).all()
        says = r"^labels=\[-3\.5, 2\], and run 'counts' has no classes to explain; leave out `labels`, and what .*\.$"
        with pytest.raises(LabelError, match=says):
            run.attribute(np.full((2, 6), 7), labels=[-3.5, 2])


def test_two_files_may_define_the_same_modality_and_each_run_has_its_own(runs: Path):
    for name in ("classes", "counts", "classes"):
        with tc.open_run(runs / name) as run:
            assert np.isfinite(run.attribute(np.full((1, 6), 7))).all()
            assert new_input_reader(run) is not None
        read_subject_file(runs / f"{name}.py")
        assert MODALITIES["series"].media.__code__.co_filename == str(runs / f"{name}.py")


def test_a_file_that_was_edited_replaces_what_it_registered(runs: Path, tmp_path: Path):
    edited = tmp_path / "edited.py"
    for noun in ("row", "line"):
        edited.write_text(
            CONTENT.replace('name, noun, plural = "series", "series"', f'name, noun, plural = "series", "{noun}"')
        )
        read_subject_file(edited)
        assert find_modality("series").noun == noun
    edited.write_text(
        CONTENT.replace('name, noun, plural = "series"', 'name, noun, plural = "renamed"').replace(
            '"Series", "series"', '"Series", "renamed"'
        )
    )
    try:
        read_subject_file(edited)
        assert "series" not in MODALITIES
        read_subject_file(runs / "classes.py")
        assert find_modality("series").noun == "series" and "renamed" not in MODALITIES
    finally:
        MODALITIES.pop("renamed", None)


def test_what_a_file_may_not_replace_stays(runs: Path, tmp_path: Path):
    read_subject_file(runs / "classes.py")
    series, poisson = find_modality("series"), find_task("poisson")
    for again, what in (
        (lambda: register_modality(type(series)), "modality"),
        (lambda: register_task(poisson), "task"),
    ):
        with pytest.raises(InvalidSettingError, match=f"there is a {what} .* already"):
            again()
    for wrong, says in (
        (CONTENT.replace('name, noun, plural = "series"', 'name, noun, plural = "text"'), "a modality 'text' already"),
        (
            CONTENT.replace("register_task(Poisson)", "register_task(Poisson); register_task(Poisson)"),
            "a task 'poisson' already",
        ),
    ):
        (tmp_path / "wrong.py").write_text(wrong)
        with pytest.raises(InvalidSettingError, match=says):
            read_subject_file(tmp_path / "wrong.py")
    read_subject_file(runs / "classes.py")
    assert find_modality("series") is series and find_task("poisson") is poisson


def test_a_file_that_has_not_run_here_is_named_and_run_by_its_button_alone(runs: Path, shown):
    held = [MODALITIES, TASKS, registering._of_files, registering._owners, subject_file._read, subject_file._remembered]
    before = [dict(each) for each in held]
    try:
        for each in held[2:]:
            each.clear()  # as in a process that was just started
        del MODALITIES["series"], TASKS["poisson"]
        app = shown("classes")
        assert "read by its modality 'series', which is known here once classes.py has run" in words(app)
        assert not app.text_input and "series" not in MODALITIES
        app.button(key="run subject file").click().run()
        assert "series" in MODALITIES
        app.text_input(key="new series type").set_value("7 1 2 3 4 5").run()
        assert not app.exception and "The model calls this" in words(app)
        app = shown("counts")
        assert not app.button and not app.exception
    finally:
        for each, content in zip(held, before, strict=True):
            each.clear()
            each.update(content)
