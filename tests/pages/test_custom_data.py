"""The panel for building from one's own data, as a person meets it; reading runs in a process of its own."""

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from pages.components.text import for_page, log_for_page
from tests.pages.conftest import words
from trak_core.jobs import Jobs
from trak_core.views.custom_data import command_again


@pytest.fixture
def started(monkeypatch):
    """Builds that pages start are only written down."""
    found = []
    monkeypatch.setattr(Jobs, "start_build", lambda self, run_dir, command: found.append((run_dir, command)))
    return found


@pytest.fixture
def app(runs, open_page, started) -> AppTest:
    opened = open_page("runs")
    opened.get_by_key("new source").set_value("Your own data").run()
    assert not opened.exception
    return opened


def button(app: AppTest, label: str):
    return next(one for one in app.button if one.label == label)


def labels(app: AppTest) -> list[str]:
    return [one.label for one in app.button]


def check(app: AppTest) -> AppTest:
    button(app, "Check the data").click().run()
    deadline = time.monotonic() + 60
    while "Cancel" in labels(app) and time.monotonic() < deadline:
        time.sleep(0.2)
        app.run()
    assert not app.exception
    return app


def type_path(app: AppTest, path: Path | str) -> AppTest:
    return app.text_input(key="data path").input(str(path)).run()


def choose(app: AppTest, label: str, value: str) -> AppTest:
    return next(one for one in app.selectbox if one.label == label).select(value).run()


def write_images(folder: Path) -> Path:
    for name in ("<b>cats</b>", "犬"):
        (folder / name.replace("/", "_")).mkdir(parents=True)
        for number in range(6):
            tones = np.full((8, 8), 10 * number + len(name), dtype=np.uint8)
            Image.fromarray(tones).save(folder / name.replace("/", "_") / f"{number}.png")
    (folder / "犬" / "broken.png").write_bytes(b"nothing")
    return folder


def write_table(path: Path) -> Path:
    rows = [f"a fine film {i},good" if i % 2 else f"a poor film {i},bad" for i in range(20)]
    path.write_text("\n".join(["review,label", *rows]), encoding="utf-8")
    return path


def test_nothing_can_be_checked_before_a_path_is_given(app):
    assert button(app, "Check the data").disabled
    assert "Build" not in labels(app)
    assert "A folder for each class" in words(app)


@pytest.mark.slow
def test_a_folder_is_checked_and_then_built_with_what_was_chosen(app, runs, tmp_path, started):
    folder = write_images(tmp_path / "pets")
    check(type_path(app, folder))
    said = words(app)
    assert "“pets”: 10 training and 2 test images in 2 classes." in said
    assert "8 x 8 pixels (width x height), grey" in said
    assert app.dataframe[0].value["class"].tolist() == ["<b>cats<_b>", "犬"]
    assert "**12 samples**" in [one.value for one in app.markdown]
    captions = [one.value for one in app.caption]
    assert sum("train" in one for one in captions) >= 8
    assert [one.label for one in app.expander if "skipped" in one.label] == ["1 skipped"]
    skipped = next(table.value for table in app.dataframe if "because" in table.value)
    assert skipped["skipped"].tolist() == ["犬/broken.png"]
    choose(app, "Model", "cnn")
    app.number_input(key="data minutes").set_value(0.5).run()
    app.number_input(key="data size").set_value(16).run()
    assert "Build" not in labels(app), "other pixels are other data, and are checked anew"
    check(app)
    button(app, "Build").click().run()
    command = ["build", "image-folder", str(folder.resolve()), "--size", "16", "--name", "pets"]
    assert started == [(runs / "pets", [*command, "--minutes", "0.5", "--seed", "0", "--model", "cnn"])]
    assert "“pets” is being built" in words(app)


def test_which_column_has_the_labels_of_images_is_a_question_that_the_form_answers(app, runs, tmp_path, started):
    folder = write_images(tmp_path / "flat")
    for number, file in enumerate(sorted(folder.glob("*/?.png"))):
        file.rename(folder / f"{number}.png")
    rows = [f"{number}.png,{'ab'[number % 2]},{'xy'[number // 6]}" for number in range(12)]
    (folder / "labels.csv").write_text("\n".join(["file,kind,colour", *rows]), encoding="utf-8")
    check(type_path(app, folder))
    assert "name one of them (label): 'kind', 'colour'" in words(app) and "Build" not in labels(app)
    app.text_input(key="data label").input("colour").run()
    check(app)
    assert "The labels are those in the column 'colour' of labels.csv." in words(app)
    button(app, "Build").click().run()
    assert started[0][1][:5] == ["build", "image-folder", str(folder.resolve()), "--label", "colour"]


def test_a_path_that_is_not_there_gets_one_sentence_and_stays(app, tmp_path):
    check(type_path(app, tmp_path / "nowhere"))
    assert [error.value for error in app.error] and "There is no folder or zip file" in words(app)
    assert app.text_input(key="data path").value == str(tmp_path / "nowhere")
    assert "Build" not in labels(app)


@pytest.mark.parametrize("typed", ["~nobodyatall/x", "a\0b", "x" * 3000])
def test_a_path_that_cannot_be_gets_one_sentence(app, typed):
    type_path(app, typed)
    assert not app.exception
    assert "Nothing can be read at" in words(app)
    assert button(app, "Check the data").disabled


@pytest.mark.slow
def test_columns_are_offered_from_the_files_own_header(app, runs, tmp_path, started):
    table = write_table(tmp_path / "films.csv")
    app.selectbox(key="data kind").select("table").run()
    type_path(app, table)
    by_label = {one.label: one for one in app.selectbox}
    assert by_label["Column of texts"].options == ["review", "label"]
    assert by_label["Column of texts"].value == "review" and by_label["Column of labels"].value == "label"
    check(app)
    assert "16 training and 4 test texts in 2 classes" in words(app)
    samples = next(table.value for table in app.dataframe if "text" in table.value)
    assert len(samples) == 12 and set(samples["class"]) == {"bad", "good"}
    assert all(
        ("poor" in text) == (name == "bad") for name, text in zip(samples["class"], samples["text"], strict=True)
    )
    assert samples["from"].str.startswith("films.csv:").all()
    app.text_input(key="new name").input("mine").run()
    button(app, "Build").click().run()
    command = ["build", "table", str(table.resolve()), "--text", "review", "--label", "label", "--name", "mine"]
    assert started == [(runs / "mine", [*command, "--minutes", "10", "--seed", "0"])]


def test_columns_of_other_names_are_guessed_by_what_is_in_them(app, tmp_path):
    rows = [f"{n},is film number {n} worth it?,{'yes' if n % 3 else 'no'}" for n in range(20)]
    (tmp_path / "a.csv").write_text("\n".join(["nr,question,kind", *rows]))
    app.selectbox(key="data kind").select("table").run()
    type_path(app, tmp_path / "a.csv")
    by_label = {one.label: one.value for one in app.selectbox}
    assert (by_label["Column of texts"], by_label["Column of labels"]) == ("question", "kind")


def test_a_delimiter_that_is_not_found_out_can_be_typed(app, tmp_path):
    (tmp_path / "a.csv").write_text("\n".join(["text^label", *(f"film {n} is so^{'ab'[n % 2]}" for n in range(20))]))
    app.selectbox(key="data kind").select("table").run()
    type_path(app, tmp_path / "a.csv")
    assert {one.label: one.options for one in app.selectbox}["Column of texts"] == ["text^label"]
    app.text_input(key="data delimiter").input("^").run()
    by_label = {one.label: one.value for one in app.selectbox}
    assert (by_label["Column of texts"], by_label["Column of labels"]) == ("text", "label")
    app.text_input(key="data delimiter").input("^^").run()
    assert not app.exception and "Delimiter is '^^'; give one character" in words(app)


def test_a_table_that_cannot_be_read_gets_one_sentence_at_once(app, tmp_path):
    app.selectbox(key="data kind").select("table").run()
    (tmp_path / "empty.csv").write_bytes(b"")
    type_path(app, tmp_path / "empty.csv")
    assert "is empty; give a file with a row for each example" in words(app)
    type_path(app, tmp_path / "films.xlsx")
    assert "has an ending that is not known" in words(app)
    assert button(app, "Check the data").disabled


def test_a_name_that_is_taken_is_said_beside_the_form(app, tmp_path, started):
    check(type_path(app, write_images(tmp_path / "digits")))
    assert app.text_input(key="new name").placeholder == "digits-2"
    app.text_input(key="new name").input("digits").run()
    button(app, "Build").click().run()
    assert "There is a run “digits” already" in words(app)
    assert started == []


@pytest.mark.slow
def test_an_upload_is_kept_beside_the_runs_and_its_path_filled_in(app, runs, tmp_path):
    app.selectbox(key="data kind").select("table").run()
    content = write_table(tmp_path / "films.csv").read_bytes()
    app.file_uploader(key="data upload table").set_value(("../../../films 1.csv", content, "text/csv")).run()
    kept = runs.parent / "sources" / "films-1.csv"
    assert kept.read_bytes() == content
    assert app.text_input(key="data path").value == str(kept.resolve())
    check(app)
    assert "16 training and 4 test texts" in words(app)


def test_an_upload_that_is_no_archive_is_refused_and_not_kept(app, runs):
    app.file_uploader(key="data upload image-folder").set_value(("x.zip", b"PK no zip", "application/zip")).run()
    assert not app.exception
    assert "X.zip is neither a folder nor a zip file, or is damaged" in words(app)
    assert not any((runs.parent / "sources").iterdir())


def test_messages_on_pages_name_no_options_of_the_command_line():
    assert for_page("lower --size, or give fewer images.") == "lower “Image size”, or give fewer images."
    assert for_page("give this one another name (--name), or delete it") == "give this one another name, or delete it"
    assert for_page("draw fewer, with --n-train 20000") == "draw fewer, with “n-train” 20000"
    assert for_page("finish it: `python -m trak_core build x --name y`.") == "finish it: “New run” on the page Runs."
    assert for_page("a run of `python -m trak_core verify x`") == "a run of the command line"
    said = [
        "Evidence: not measured yet. Go on with: python -m trak_core extend x",
        "Look at it with: trak-explorer",
        "a",
    ]
    assert log_for_page(said) == ["Evidence: not measured yet.", "a"]
    assert "--" not in for_page("say --missing null, --no-header or --delimiter ';'")


def test_a_build_that_failed_begins_again_with_what_the_form_says():
    form = ["build", "table", "a.csv", "--text", "t", "--minutes", "7", "--seed", "0"]
    failed = ["build", "table", "a.csv", "--text", "t", "--name", "mine", "--minutes", "1", "--seed", "0"]
    assert command_again("mine", failed, form) == [*form, "--name", "mine"]
    other = ["build", "table", "b.csv", "--text", "t", "--name", "mine", "--minutes", "1", "--seed", "0"]
    assert command_again("mine", other, form) == other
    assert command_again("mine", failed, None) == failed
