"""What pages say about a person's own data before a build, and about a run of them afterwards."""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import trak_core as tc
from tests.test_image_folder import saved
from trak_core.datasets.column_guess import likely_columns
from trak_core.datasets.kinds import DATA_KINDS
from trak_core.datasets.options import IMAGE, LABEL, SPLIT, TEXT
from trak_core.datasets.report import report_on
from trak_core.engine import BuildSettings, build_run
from trak_core.engine.clock import Clock
from trak_core.errors import EmptyDataError, InvalidDataError, StoreDamagedError
from trak_core.modalities import RawData, RawSplit, Skipped, find_modality, prepare
from trak_core.store.catalog import summarize
from trak_core.store.run import Run
from trak_core.subjects import custom_recipe
from trak_core.subjects.of_run import read_dataset, why_not_made_again
from trak_core.views.custom_data import columns_of, run_in_words, typed_path
from trak_core.views.data_report import (
    class_table,
    findings_of,
    pictured_samples,
    read_report,
    report_sentences,
    sample_table,
)
from trak_core.views.media_html import enlarged
from trak_core.views.provenance import metadata_table

TABLE, HF = DATA_KINDS["table"], DATA_KINDS["hf-dataset"]
TEXTS = ["Good film", "bad film", "good  FILM", "fine", "good film", "dull"]


def raw(n: int = 1) -> RawData:
    return RawData(
        "films",
        "text",
        ("bad", "<b>good</b>"),
        RawSplit(TEXTS[:4] * n, np.array([1, 0, 0, 1] * n)),
        RawSplit(TEXTS[4:], np.array([1, 0])),
        (Skipped("films.csv, row 7", "it has no text"),),
        ("A note.",),
    )


def test_a_report_comes_back_from_json_as_it_was():
    report = report_on(raw())
    assert read_report(report.as_json()) == report


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"classes": [{}]}', "null"])
def test_what_is_no_report_gets_a_sentence(text):
    with pytest.raises(InvalidDataError, match="did not arrive whole"):
        read_report(text)


def test_a_report_is_told_in_sentences_and_tables_with_the_gravest_first():
    report = report_on(raw())
    assert report_sentences(report)[0] == "“films”: 4 training and 2 test texts in 2 classes."
    assert "A note." in report_sentences(report)
    assert class_table(report).to_dict("list") == {
        "class": ["bad", "<b>good</b>"],
        "training": [2, 2],
        "test": [1, 1],
    }
    found = findings_of(report)
    assert [one.title for one in found] == [
        "1 with labels in conflict",
        "1 test examples in training too",
        "1 skipped",
        "1 repeated",
    ]
    assert found[0].table.iloc[0].tolist() == ["0, 2", "0", "bad, <b>good</b>"]
    assert found[2].table.iloc[0].tolist() == ["films.csv, row 7", "it has no text"]
    clean = replace(report, repeated=(), skipped=())
    assert findings_of(clean) == ()


def test_samples_are_a_table_of_texts_or_pictures_with_captions():
    report = report_on(raw())
    table = sample_table(report)
    assert list(table.columns) == ["class", "text", "split", "from"] and len(table) == 6
    assert table.iloc[0].tolist() == ["<b>good</b>", "Good film", "train", ""] and not pictured_samples(report)
    pixels = np.zeros((2, 4, 4, 1), dtype=np.uint8)
    pictures = RawData("x", "image", ("cat", "dog"), *(RawSplit(pixels, np.array([0, 1]), ["a.png", "b.png"]),) * 2)
    shown = pictured_samples(read_report(report_on(pictures).as_json()))
    assert [caption for _, caption in shown] == ["cat, train", "dog, train", "cat, test", "dog, test"]
    assert not len(sample_table(report_on(pictures)))


def test_tables_of_many_findings_stay_short():
    found = findings_of(report_on(raw(3000)))
    assert all(len(one.table) <= 1000 for one in found)
    assert found[0].table.iloc[0]["training examples"].endswith("and 5,992 more")


def test_columns_are_read_off_every_kind_of_table(tmp_path):
    (tmp_path / "a.csv").write_text("Text;Étiquette\nx;y\n", encoding="utf-8")
    assert columns_of(TABLE, tmp_path / "a.csv", {})[0] == ["Text", "Étiquette"]
    assert columns_of(TABLE, tmp_path / "a.csv", {"no_header": True})[0] == ["1", "2"]
    (tmp_path / "b.tsv").write_bytes("título\tlabel\nx\ty\n".encode("latin-1"))
    assert columns_of(TABLE, tmp_path / "b.tsv", {"encoding": "latin-1"})[0] == ["título", "label"]
    (tmp_path / "c.jsonl").write_text('{"text": "a"}\nbroken\n{"label": 1, "text": "b"}\n')
    assert columns_of(TABLE, tmp_path / "c.jsonl", {})[0] == ["text", "label"]
    (tmp_path / "d.json").write_text(json.dumps([{"text": "a", "label": 1}]))
    assert columns_of(TABLE, tmp_path / "d.json", {})[0] == ["text", "label"]
    pd.DataFrame({"text": ["a"], "label": [1]}).to_parquet(tmp_path / "e.parquet")
    assert columns_of(TABLE, tmp_path / "e.parquet", {})[0] == ["text", "label"]
    (tmp_path / "hf").mkdir()
    pd.DataFrame({"sentence": ["a"], "label": [1]}).to_parquet(tmp_path / "hf" / "train-00000-of-00001.parquet")
    assert columns_of(HF, tmp_path / "hf", {})[0] == ["sentence", "label"]
    with pytest.raises(EmptyDataError, match="is empty"):
        (tmp_path / "f.csv").touch()
        columns_of(TABLE, tmp_path / "f.csv", {})
    with pytest.raises(InvalidDataError, match="there is no file"):
        columns_of(TABLE, tmp_path / "g.csv", {})
    with pytest.raises(InvalidDataError, match="too long"):
        columns_of(HF, tmp_path / ("x" * 300), {})


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"id": "1234", "question": ["What is a fox?", "Who was Ada?", "Where is Rome?", "Why is it?"],
          "kind": ["thing", "person", "person", "thing"]}, {"text": "question", "label": "kind"}),
        ({"sentence": ["It is good", "It is bad", "It is dull", "It is fine"], "sentiment": "1001"},
         {"text": "sentence", "label": "sentiment"}),
        ({"title": ["Up", "Down", "Left", "Right"], "plot": ["A man flies", "A man falls", "A man goes", "A man stays"],
          "year": ["1999", "2000", "1999", "2000"], "genre type": "abab"}, {"text": "plot", "label": "genre type"}),
        ({"set": "abab", "fold": ["train", "dev", "train", "test"], "1": ["one two", "three", "four", "five six"],
          "2": "yzyz"}, {"text": "1", "label": "set", "split": "fold"}),
        ({"name": ["x one", "y two", "z three", "w four"], "price": ["1.5", "2.5", "1.5", "2.5"]}, {"text": "name"}),
        ({"id": "1234", "LABEL": "abab", "Text": "wxyz"}, {"text": "Text", "label": "LABEL"}),
        ({"image": [{"bytes": b"", "path": None}] * 4, "caption": ["a fox", "a dog", "a cow", "an ox"], "y": "0101"},
         {"image": "image", "label": "y"}),
    ],
)  # fmt: skip
def test_columns_are_guessed_by_their_names_and_by_what_is_in_them(table, expected):
    rows = [list(row) for row in zip(*table.values(), strict=True)]
    assert likely_columns([TEXT, IMAGE, LABEL, SPLIT], list(table), rows) == expected
    assert likely_columns([TEXT, LABEL, SPLIT], list(table), []).keys() <= expected.keys(), "names alone tell less"


def test_the_page_is_told_which_columns_a_file_probably_has(tmp_path):
    lines = [f"{n},is a film number {n} worth it?,{'yes' if n % 3 else 'no'}" for n in range(30)]
    (tmp_path / "a.csv").write_text("\n".join(["nr,question,kind", *lines]))
    assert columns_of(TABLE, tmp_path / "a.csv", {})[1] == {"text": "question", "label": "kind"}
    frame = pd.DataFrame({"q": [f"is a film {n} worth it?" for n in range(30)], "verdict": ["no", "yes"] * 15})
    frame.to_parquet(tmp_path / "b.parquet")
    frame.to_json(tmp_path / "c.json", orient="records")
    (tmp_path / "hf").mkdir()
    frame.to_parquet(tmp_path / "hf" / "train.parquet")
    for kind, name in ((TABLE, "b.parquet"), (TABLE, "c.json"), (HF, "hf")):
        assert columns_of(kind, tmp_path / name, {}) == (["q", "verdict"], {"text": "q", "label": "verdict"})


def test_models_are_offered_by_the_modality_of_the_examples():
    assert {model.name for model in find_modality(TABLE.modality({})).models} == {"words", "transformer"}
    assert {model.name for model in find_modality(HF.modality({"image": "picture"})).models} >= {"mlp", "cnn"}


def test_a_typed_path_is_taken_as_a_terminal_takes_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert typed_path("  ~/cats ") == tmp_path / "cats"
    assert typed_path(" ") is None


# --- runs of own data -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_of_own_data_says_in_words_what_it_is(tmp_path: Path):
    texts = [f"a {'fine' if number % 2 else 'poor'} film {'x' * (number + 2)}" for number in range(60)]
    labels = np.arange(60) % 2
    data = RawData(
        "films", "text", ("bad", "good"), RawSplit(texts[:48], labels[:48]), RawSplit(texts[48:], labels[48:])
    )
    metadata = {"minutes": 3.0, "data_report": {"n_left_out": 2, "n_leaks": 0, "notes": ["A note."]}}
    recipe = custom_recipe("table", prepare(data, "vocabulary"), "words", metadata=metadata)
    settings = BuildSettings.of(recipe, 0, "cpu", n_checkpoints=1, proj_dim=8, n_subsets=20, n_seeds=1)
    run_dir = build_run(settings, "films", tmp_path, recipe=recipe, clock=Clock(3.0))
    with tc.open_run(run_dir) as run:
        said = "Texts from the table “films”; model words, weighted words, one hidden layer; given 3 minutes"
        assert run_in_words(run.info) == said
        table = metadata_table(run).set_index("what")["value"]
        assert table["made from"] == "Texts from the table “films”"
        assert table["model"] == "words, weighted words, one hidden layer"
        assert table["skipped, because unreadable or without a class"] == "2"
        assert table["note of the reader"] == "A note."
        assert "recipe" not in table and "test examples that are training examples too" not in table
        assert table["texts as the model takes them"].startswith("weights of 34 words: a, film, fine, poor,")
        assert not {"data report", "encoding"} & set(table.index)
    assert run_in_words(summarize(run_dir).info) == said
    with tc.open_run(run_dir) as run:
        # A run that somebody sent may hold anything.
        assert why_not_made_again(run) is None
        for key, value in {"minutes": "ten", "model": []}.items():
            kept = run.info.provenance
            odd = replace(run.info, provenance={**kept, key: value})
            assert run_in_words(odd).startswith("Texts from the table “films”")
        for change in ({"model": []}, {"weights": 3}, {"sources": "x"}, {"recipe": []}):
            with changed(run, **change):
                assert why_not_made_again(run)
        with (
            changed(run, encoding=None),
            pytest.raises(StoreDamagedError, match="does not tell how its texts become"),
        ):
            read_dataset(run)
        with (
            changed(run, encoding={"kind": "pixels", "width": 8, "mean": [0.5], "deviation": [1.0]}),
            pytest.raises(StoreDamagedError, match=r"not whole \(KeyError: 'height'\)"),
        ):
            read_dataset(run)
        with (
            changed(run, encoding={"kind": "vocabulary", "words": ["film"], "idf": [[1, 2], [3, 4]]}),
            pytest.raises(StoreDamagedError, match="cannot be turned into inputs"),
        ):
            read_dataset(run)


@contextmanager
def changed(run: Run, **facts: object) -> Iterator[None]:
    """The run as if its meta table told other things."""
    info = run.info
    try:
        run.info = replace(info, provenance={**info.provenance, **facts}, recipe=facts.get("recipe", info.recipe))
        yield
    finally:
        run.info = info


def test_pictures_of_a_run_that_are_none_are_a_damaged_store():
    pixels = {"kind": "pixels", "height": 2, "width": 2, "mean": [0.5], "deviation": [1.0]}
    info = SimpleNamespace(
        has_classes=True,
        name="sent",
        modality="image",
        title="t",
        class_names=("a", "b"),
        provenance={"encoding": pixels},
    )
    answers = {"label": [(0,)], "idx, thumbnail": [(0, b"no picture", None)], "1 FROM media": []}

    def rows(query: str, params: Sequence[object] = ()) -> list[tuple[object, ...]]:
        return next(found for start, found in answers.items() if query.startswith(f"SELECT {start}"))

    run = SimpleNamespace(path=Path("nowhere"), info=info, rows=rows)
    with pytest.raises(StoreDamagedError, match=r"'sent' holds train examples that cannot .*UnidentifiedImageError"):
        read_dataset(run)


def test_a_run_of_a_recipe_says_what_it_said(small_run):
    assert run_in_words(small_run.info) is None
    assert metadata_table(small_run).set_index("what")["value"]["recipe"] == "digits"


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_small_images_are_enlarged_pixel_by_pixel_and_large_ones_left_alone(mode):
    tones = np.random.default_rng(0).integers(0, 256, (14, 10) + ((3,) if mode == "RGB" else ()), dtype=np.uint8)
    content = saved(Image.fromarray(tones), "PNG")
    with Image.open(io.BytesIO(enlarged(content, 150))) as image:
        large = np.asarray(image)
    assert large.shape[:2] == (14 * 30, 10 * 30)
    assert (large[::30, ::30] == tones).all() and (large[29::30, 29::30] == tones).all()
    assert enlarged(content, 12) == content
