"""What cannot be done with language models, told in one sentence with the next step before anything is trained."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import trak_core as tc
from tests.language import tiny_gpt2, tiny_t5, tokenized, word_tokenizer
from trak_core.datasets.passage_files import read_passages
from trak_core.errors import (
    InvalidDataError,
    InvalidModelError,
    InvalidSettingError,
    LabelError,
    NeedNotMetError,
    TrakCoreError,
)
from trak_core.modalities import RawData, RawSplit, prepare
from trak_core.subjects.custom_data import custom_recipe
from trak_core.subjects.models_by_name import find_model

WORDS = " ".join(f"w{2 + i % 38}" for i in range(400))


def _saved(folder: Path, model: Any, with_tokenizer: bool = True) -> str:
    model.save_pretrained(folder)
    if with_tokenizer:
        word_tokenizer().save_pretrained(folder)
    return f"huggingface:{folder}"


def _bert(kind: str = "BertForMaskedLM") -> Any:
    import transformers

    sizes = {"vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(**sizes, intermediate_size=16, max_position_embeddings=16)
    return getattr(transformers, kind)(config)


def _llama(**settings: Any) -> Any:
    import transformers

    sizes = {"vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**sizes, intermediate_size=16, max_position_embeddings=16, **settings)
    )


@pytest.mark.parametrize(
    ("modality", "make", "said"),
    [
        ("passage", tiny_t5, "is a t5 model, and none that goes on with a text .*`build text-to-text` is"),
        ("passage", _bert, "is a bert model, and none that goes on with a text .*both sides; `build table`"),
        ("text_pair", _bert, "is a bert model, and none that goes on with a text"),
    ],
)
def test_models_of_another_kind_are_refused(tmp_path: Path, modality: str, make: Callable[[], Any], said: str):
    with pytest.raises(InvalidSettingError, match=said):
        find_model(_saved(tmp_path / "model", make()), modality)


@pytest.mark.parametrize(
    ("task", "make", "said"),
    [
        ("causal_lm", tiny_t5, "this t5 model: it leads from text to text; use task='seq2seq'"),
        ("causal_lm", _bert, "this bert model: it reads a text from both sides"),
        ("seq2seq", tiny_gpt2, "this gpt2 model: it has no encoder .*use task='causal_lm'"),
        ("seq2seq", _bert, "this bert model: it has no decoder"),
        ("seq2seq", _llama, "this llama model: it has no encoder"),
    ],
)
def test_tasks_that_cannot_be_asked_of_a_model_name_the_one_that_can(task: str, make: Callable[[], Any], said: str):
    with pytest.raises(InvalidModelError, match=said):
        tc.Attributor(make(), task)


def test_adapters_do_not_hide_of_which_kind_a_model_is():
    import peft

    config = peft.LoraConfig(r=2, target_modules=["q"], task_type="SEQ_2_SEQ_LM")
    with pytest.raises(InvalidModelError, match="leads from text to text"):
        tc.Attributor(peft.get_peft_model(tiny_t5(), config), "causal_lm")


@pytest.mark.parametrize(
    ("scaling", "longest"),
    [
        (None, 16),
        ({"rope_type": "linear", "factor": 2.0}, 32),
        ({"rope_type": "dynamic", "factor": 3.0}, 48),
        ({"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 8}, 16),
    ],
)
def test_rotary_positions_are_read_as_far_as_they_were_learnt_and_scaled(
    tmp_path: Path, scaling: dict[str, Any] | None, longest: int
):
    model = _llama(**({} if scaling is None else {"rope_scaling": scaling}))
    attributor = tc.Attributor(model, "causal_lm", progress=False)
    attributor.fit(tokenized([longest, 5])).close()
    with pytest.raises(InvalidDataError, match=f"has {longest} positions, and has not learnt to read beyond them"):
        attributor.fit(tokenized([longest + 1, 5]))
    assert find_model(_saved(tmp_path / "model", model), "passage").takes.longest == longest  # type: ignore[union-attr]


def test_passages_that_are_longer_than_the_model_are_refused_with_a_number_of_words(tmp_path: Path):
    file = tmp_path / "text.txt"
    file.write_text(WORDS)
    model = find_model(_saved(tmp_path / "model", tiny_gpt2()), "passage")
    with pytest.raises(InvalidSettingError, match=r"more than 39 tokens, and no more than 16 .* --words 12"):
        prepare(read_passages(file), model.takes)
    data = prepare(read_passages(file, words=12), model.takes)
    assert data.encoding is not None
    assert data.encoding.sizes() == {"length": 12}


@pytest.mark.parametrize("what", ["no model", "empty", "damaged", "pickle", "no tokenizer", "no head", "no such"])
def test_folders_without_a_whole_model_are_refused(tmp_path: Path, what: str):
    folder = tmp_path / "model"
    name = _saved(folder, _llama(), with_tokenizer=what != "no tokenizer")
    weights = folder / "model.safetensors"
    said = {
        "no model": "neither a folder with a model",
        "empty": "neither a folder with a model",
        "damaged": "cannot be read .*model.save_pretrained",
        "pickle": "must be safetensors",
        "no tokenizer": r"no tokenizer in .*tokenizer.save_pretrained\(FOLDER\)",
        "no head": "its weights lack 'lm_head.weight'",
        "no such": "neither a folder with a model",
    }[what]
    if what in ("no model", "empty"):
        (folder / "config.json").unlink()
    if what == "empty":
        for file in folder.iterdir():
            file.unlink()
    if what == "damaged":
        weights.write_bytes(weights.read_bytes()[:100])
    if what == "pickle":
        torch.save(_llama().state_dict(), folder / "pytorch_model.bin")
        weights.unlink()
    if what == "no head":
        _llama().model.save_pretrained(folder)
    if what == "no such":
        name += "-gone"
    with pytest.raises((InvalidSettingError, NeedNotMetError), match=said):
        model = find_model(name, "passage")
        model.make({})


def test_packages_that_are_missing_are_named_with_their_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    name = _saved(tmp_path / "model", tiny_gpt2())
    found = importlib.util.find_spec

    def without(*gone: str) -> None:
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda each, *rest: None if each in gone else found(each, *rest)
        )

    without("peft")
    find_model(name, "passage")
    with pytest.raises(NeedNotMetError, match="`pip install peft`"):
        find_model(f"{name}?lora=2", "passage")
    without("transformers")
    for modality in ("passage", "text_pair", "text"):
        with pytest.raises(InvalidSettingError, match="`pip install transformers`"):
            find_model(name, modality)


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (b"", {}, "holds 0 passages"),
        (b"\n \n\t\n", {}, "holds 0 passages"),
        (b"one single line of words", {}, "10 or more are needed"),
        (b"\x00\x01\x02\xff" * 500, {}, "no text in UTF-8"),
        (b"PK\x03\x04" + b"\0" * 100, {}, "a zip archive"),
        ("caf\u00e9 au lait \u00e0 la ma\u00eetresse\n".encode("latin-1") * 200, {}, "latin-1"),
        (b"\x89PNG\r\n\x1a\n\xde\xad\xbe\xef" * 300, {}, "line 1, is not UTF-8"),
    ],
)
def test_files_that_are_no_running_text_are_refused(tmp_path: Path, content: bytes, options: dict[str, Any], said: str):
    file = tmp_path / "text.txt"
    file.write_bytes(content)
    with pytest.raises(TrakCoreError, match=said):
        read_passages(file, **options)


def test_a_text_in_latin_1_is_read_when_it_is_said(tmp_path: Path):
    file = tmp_path / "text.txt"
    file.write_bytes(("caf\u00e9 au lait \u00e0 la ma\u00eetresse\n" * 200).encode("latin-1"))
    raw = read_passages(file, encoding="latin-1")
    assert "caf\u00e9" in raw.train.contents[0]


def test_examples_of_which_nothing_is_asked_are_refused_before_training(tmp_path: Path):
    words = [f"w{2 + i}" for i in range(24)]
    contents = {"source": words, "target": words}
    raw = RawData("mine", "text_pair", (), RawSplit(contents, np.zeros(24)), RawSplit(contents, np.zeros(24)))
    model = find_model(_saved(tmp_path / "model", tiny_gpt2()), "text_pair")
    data = prepare(raw, model.takes)
    custom_recipe("text-to-text", data, model).load()
    data.test.labels[3] = -100
    with pytest.raises(LabelError, match="the labels of test example 3 ask about no token"):
        custom_recipe("text-to-text", data, model).load()


def test_a_last_word_alone_is_no_passage(tmp_path: Path):
    file = tmp_path / "text.txt"
    file.write_text("\n".join(["w2 w3 w4 w5"] * 20 + ["w6"]))
    raw = read_passages(file, words=4)
    assert {*raw.train.contents, *raw.test.contents} == {"w2 w3 w4 w5"}
