"""Runs of language models that `Attributor` saves, and what the explorer says of them."""

from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from safetensors import safe_open
from safetensors.torch import load_file
from streamlit.testing.v1 import AppTest

import trak_core as tc
from tests.language import pairs, tiny_gpt2, tiny_t5, tokenized, with_lora, word_tokenizer
from trak_core.errors import InvalidSettingError
from trak_core.store.run import open_run

pytest.importorskip("transformers")
ROOT = Path(__file__).resolve().parents[1]
TRAIN, TEST = tokenized([5, 7, 3, 9, 10, 4, 6]), tokenized([6, 4, 8], seed=9)
PAIRS, ASKED = pairs([(4, 3), (7, 2), (5, 6), (3, 3)]), pairs([(6, 2), (3, 4)], seed=5)
PAGES = ("home", "runs", "explore", "training_item", "evidence", "map", "present", "review")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of a continuation and of a translation, saved."""
    folder = tmp_path_factory.mktemp("runs")
    words = word_tokenizer()
    for name, model, task, train, test in (
        ("continued", tiny_gpt2(), "causal_lm", TRAIN, TEST),
        ("translated", tiny_t5(), "seq2seq", PAIRS, ASKED),
    ):
        attributor = tc.Attributor(model, task, batch_size=2, progress=False).fit(train)
        attributor.save(folder / name, train=train, test=test, tokenizer=words)
    return folder


@pytest.mark.parametrize(
    ("name", "train", "test", "model", "task"),
    [("continued", TRAIN, TEST, tiny_gpt2, "causal_lm"), ("translated", PAIRS, ASKED, tiny_t5, "seq2seq")],
)
def test_a_saved_run_holds_the_texts_the_continuations_and_the_scores(runs, name, train, test, model, task):
    words = word_tokenizer()
    expected = tc.Attributor(model(), task, progress=False).fit(train).score(test)
    with open_run(runs / name) as run:
        assert np.allclose(run.scores("trak"), expected, atol=1e-5 * np.abs(expected).max())
        rows = run.rows("SELECT text, label_name, label FROM examples WHERE split = 'test' ORDER BY idx")
        assert [text for text, _, _ in rows] == [words.decode(row["input_ids"]) for row in test]
        told = [row["labels"] if task == "seq2seq" else row["input_ids"][1:] for row in test]
        assert [name for _, name, _ in rows] == [words.decode(tokens) for tokens in told]
        assert {label for _, _, label in rows} == {None}
        assert run.info.provenance["has_answer"] is False and run.info.modality == "text"


@pytest.mark.parametrize("name", ["continued", "translated"])
def test_no_page_says_that_a_language_model_answers_a_number(runs, name, monkeypatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(runs))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.query_params["run"] = name
    app.run()
    said = {}
    for page in PAGES:
        app.switch_page(f"pages/{page}.py").run()
        assert not app.exception and not app.error, page
        every = (*app.markdown, *app.text, *app.caption, *app.subheader, *app.info)
        said[page] = " ".join(str(each.value) for each in every)
        assert "The model answers" not in said[page] and "a high answer" not in said[page], page
        assert "raise the answer" not in said[page], page
    assert (
        "The model output for the target “w" in said["explore"]
        and "Proponents raise the model output" in said["explore"]
    )
    st.cache_resource.clear()
    st.cache_data.clear()


def test_without_a_tokenizer_what_is_asked_is_counted(tmp_path):
    attributor = tc.Attributor(tiny_gpt2(), "causal_lm", progress=False).fit(TRAIN)
    texts = tuple([row["text"] for row in rows] for rows in (TRAIN, TEST))
    attributor.save(tmp_path / "run", train=TRAIN, test=TEST, texts=texts)
    with open_run(tmp_path / "run") as run:
        rows = run.rows("SELECT text, label_name FROM examples WHERE split = 'test' ORDER BY idx")
        assert rows == [("text 0", "5 tokens"), ("text 1", "3 tokens"), ("text 2", "7 tokens")]
        assert "the model output is" in repr(tc.show(run, 0))


def test_a_run_of_adapters_keeps_them_alone_with_a_reference_to_their_base(tmp_path):
    pytest.importorskip("peft")
    models = [with_lora(tiny_gpt2(), seed) for seed in (1, 2)]
    attributor = tc.Attributor(models[0], "causal_lm", [model.state_dict() for model in models], progress=False)
    attributor.fit(TRAIN).save(tmp_path / "run", train=TRAIN, test=TEST)
    files = sorted((tmp_path / "run" / "checkpoints").iterdir())
    for path, model in zip(files, models, strict=True):
        state = load_file(path)
        assert state and all("lora_" in name for name in state)
        assert all((value == model.state_dict()[name]).all() for name, value in state.items())
        with safe_open(path, framework="pt") as file:
            assert len(file.metadata()["frozen_sha256"]) == 64
    again = tc.Attributor(models[0], "causal_lm", files, progress=False).fit(TRAIN)
    assert np.array_equal(again.score(TEST), attributor.score(TEST))


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    attributor = tc.Attributor(tiny_gpt2(vocab_size=60), "causal_lm", progress=False)
    rows = [*TRAIN, {"input_ids": [3, 55, 4]}]
    attributor.fit(rows)
    with pytest.raises(InvalidSettingError, match="that knows 40 tokens, and the examples have 55"):
        attributor.save(tmp_path / "run", train=rows, test=TEST, tokenizer=word_tokenizer())
    with pytest.raises(InvalidSettingError, match=r"has no decode\(\)"):
        attributor.save(tmp_path / "run", train=rows, test=TEST, tokenizer="gpt2")
