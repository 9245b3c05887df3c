"""Texts as tokenizers, collators and Trainers give them, through `Attributor`: against texts filled up by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import trak_core as tc
from tests.language import N_WORDS, padded, pairs, tiny_gpt2, tiny_t5, tokenized, word_tokenizer
from trak_core.errors import (
    EmptyDataError,
    InvalidDataError,
    InvalidSettingError,
    LabelError,
    ShapeMismatchError,
)
from trak_core.subjects.batches import read_data

transformers = pytest.importorskip("transformers")
TRAIN = tokenized([5, 7, 3, 9, 10, 4, 6])
TEST = tokenized([6, 4, 8], seed=9)


def attributor(model: Any, task: str = "causal_lm", **settings: Any) -> tc.Attributor:
    return tc.Attributor(model, task, progress=False, **settings)


def scores(train: Any, test: Any, model: Any = None, task: str = "causal_lm", targets: Any = None, **settings: Any):
    return attributor(model or tiny_gpt2(), task, **settings).fit(train).score(test, targets)


def apart(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.abs(left - right).max() / np.abs(right).max())


@pytest.fixture(scope="module")
def straight() -> np.ndarray:
    return scores(padded(TRAIN, 10), padded(TEST, 10))


@pytest.mark.parametrize("form", ["rows", "tokenizer", "tokenizer, padded", "collator", "batches", "without labels"])
def test_texts_go_in_as_they_come(form, straight):
    words = word_tokenizer()

    def of(rows: list[dict[str, Any]]) -> Any:
        texts = [words.decode(row["input_ids"]) for row in rows]
        if form == "rows":
            return rows
        if form == "tokenizer":
            return words(texts)
        if form == "tokenizer, padded":
            return words(texts, padding=True, return_tensors="pt")
        if form == "collator":
            kept = [{"input_ids": row["input_ids"]} for row in rows]
            collate = transformers.DataCollatorForLanguageModeling(words, mlm=False)
            return DataLoader(kept, batch_size=2, collate_fn=collate)
        if form == "batches":
            return [padded(rows[i : i + 3], 10 - (i == 6) * 4) for i in range(0, len(rows), 3)]
        return {name: part for name, part in padded(rows, 10).items() if name != "labels"}

    assert apart(scores(of(TRAIN), of(TEST), batch_size=2), straight) < 1e-5


@pytest.mark.parametrize("method", ["grad_dot", "influence_ekfac"])
def test_methods_that_take_all_texts_at_once_fill_them_up_themselves(method):
    expected = scores(padded(TRAIN, 10), padded(TEST, 10), method=method)
    assert apart(scores(TRAIN, TEST, method=method, batch_size=2), expected) < 1e-5


@pytest.mark.parametrize("decoder", [False, True])
def test_a_model_from_text_to_text_gets_its_labels(decoder):
    train, test = pairs([(4, 3), (7, 2), (5, 6), (3, 3)]), pairs([(6, 2), (3, 4)], seed=5)
    model = tiny_t5()
    collate = transformers.DataCollatorForSeq2Seq(word_tokenizer(), model if decoder else None)
    loaders = [DataLoader(rows, batch_size=2, collate_fn=collate) for rows in (train, test)]
    alone = [[{name: torch.tensor([part]) for name, part in row.items()} for row in rows] for rows in (train, test)]
    expected = scores(
        *[[{**row, "attention_mask": torch.ones_like(row["input_ids"])} for row in rows] for rows in alone],
        model,
        "seq2seq",
    )
    assert apart(scores(*loaders, model, "seq2seq"), expected) < 1e-5
    assert apart(scores(train, test, model, "seq2seq", batch_size=3), expected) < 1e-5


def test_columns_that_the_model_does_not_take_are_left_out_as_a_trainer_does(straight):
    odd = [
        {**row, "special_tokens_mask": [0] * len(row["input_ids"]), "idx": i, "none": None}
        for i, row in enumerate(TRAIN)
    ]
    assert apart(scores(odd, TEST), straight) < 1e-5


def test_a_classifier_takes_a_trainers_data_set_too():
    sizes = {"vocab_size": N_WORDS, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = transformers.BertConfig(**sizes, intermediate_size=8, max_position_embeddings=16, pad_token_id=0)
    model = transformers.BertForSequenceClassification(config)
    rows = [{**row, "label": i % 2} for i, row in enumerate(TRAIN)]
    whole = {**padded(TRAIN, 10), "labels": torch.arange(7) % 2}
    expected = scores(whole, whole, model, "text_classification")
    assert apart(scores(rows, rows, model, "text_classification", batch_size=2), expected) < 1e-4


# --- what is asked about -------------------------------------------------------------------------------------


def test_spans_that_make_up_a_text_have_scores_that_add_up_to_its_own(straight):
    fitted = attributor(tiny_gpt2()).fit(TRAIN)
    parts = [fitted.score(TEST, tc.tokens_asked(TEST, start, stop)) for start, stop in ((1, 3), (3, 0))]
    assert apart(sum(parts), straight) < 1e-5
    assert np.array_equal(fitted.score(TEST, tc.tokens_asked(TEST, 1, 0)), fitted.score(TEST))


@pytest.mark.parametrize("method", ["trak", "grad_dot"])
def test_one_token_is_asked_about_in_texts_of_any_length(method):
    last = tc.tokens_asked(TEST, -1)
    assert last.shape == (3, 8) and (last >= 0).sum(1).tolist() == [1, 1, 1]
    fitted = attributor(tiny_gpt2(), method=method, batch_size=2).fit(TRAIN)
    alone = [fitted.score([row], tc.tokens_asked([row], -1)) for row in TEST]
    assert apart(fitted.score(TEST, last), np.concatenate(alone)) < 1e-5


def test_tokens_are_counted_among_those_that_labels_ask_about():
    labels = torch.tensor([[-100, -100, 7, 8, 9], [-100, 5, 6, -100, -100]])
    assert tc.tokens_asked(labels, 0).tolist() == [[-100, -100, 7, -100, -100], [-100, 5, -100, -100, -100]]
    assert tc.tokens_asked(labels, -2, 0).tolist() == [[-100, -100, -100, 8, 9], [-100, 5, 6, -100, -100]]
    with pytest.raises(InvalidSettingError, match="text 1 has 2 tokens that can be asked about"):
        tc.tokens_asked(labels, 2)


def test_another_token_in_the_place_of_one_is_no_target():
    fitted = attributor(tiny_gpt2()).fit(TRAIN)
    targets = tc.tokens_asked(TEST, 2)
    targets[1, 2] = (targets[1, 2] + 1) % N_WORDS
    with pytest.raises(
        LabelError, match=r"example 1 is asked about token \d+ at place 2, where it has \d+.*tokens_asked"
    ):
        fitted.score(TEST, targets)
    ids = padded(TRAIN, 10)["input_ids"]
    with pytest.raises(LabelError, match="not shifted"):
        attributor(tiny_gpt2()).fit((ids, ids.roll(-1, 1)))
    for wrong in ([1, 2, 3], torch.ones(3, 8), torch.full((3, 11), 3)):
        with pytest.raises(
            LabelError, match=r"labels are .* of shape .* tokens; task 'causal_lm' takes a token id for each"
        ):
            fitted.score(TEST, wrong)
    silent = torch.full_like(targets, -100)
    with pytest.raises(LabelError, match="test example 0 ask about no token"):
        fitted.score(TEST, silent)


# --- what is refused before anything is computed -------------------------------------------------------------

LONG = tokenized([5, 5, 20])
FOREIGN = [*TRAIN[:3], {"input_ids": [3, N_WORDS, 4]}]
SILENT = [*TRAIN[:2], {**TRAIN[2], "labels": [-100, -100, -100]}]
MIXED = [{**row, "labels": row["input_ids"]} for row in TRAIN[:2]] + [{**TRAIN[2], "labels": [2, 3, 99]}]
BAD = {
    "longer than the model": (
        LONG,
        InvalidDataError,
        "'input_ids' are 20 tokens long, .* the model has 16 positions; cut",
    ),
    "of another tokenizer": (
        FOREIGN,
        InvalidDataError,
        "example 3 has token 40 in 'input_ids', .* the model has 40 tokens",
    ),
    "labels of another tokenizer": (MIXED, LabelError, r"train example 2 has token 99 in 'labels'"),
    "empty": ([*TRAIN, {"input_ids": [], "attention_mask": []}], EmptyDataError, "example 7 is an empty text"),
    "one token": (tokenized([4, 1]), LabelError, "train example 1 ask about no token.*first token only"),
    "all labels -100": (SILENT, LabelError, "train example 2 ask about no token: all are -100"),
    "labels of another length": (
        [{"input_ids": [2, 3, 4], "labels": [2, 3]}],
        LabelError,
        r"shape \(1, 2\) for \(1, 3\) tok",
    ),
    "in no batches": (DataLoader(TRAIN, batch_size=2), InvalidDataError, "DataCollatorWithPadding"),
    "texts": (["one", "two"], InvalidDataError, r"a train batch is a str.*tokenizer\(texts\)"),
    "a column of texts": ([{"text": ["one", "two"]}], InvalidDataError, "as the ids that a tokenizer makes"),
    "words for ids": ([{"input_ids": ["a", "b"]}], InvalidDataError, "'input_ids' is of type <U1; give numbers"),
    "no ids": ([TRAIN[0], {"text": "x"}], InvalidDataError, "example 1 has no input_ids"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_texts_are_refused_before_any_gradient(what, monkeypatch):
    rows, error, message = BAD[what]
    monkeypatch.setattr("trak_core.gradients.computer.GradientComputer.compute", lambda *_: pytest.fail("computed"))
    with pytest.raises(error, match=message):
        attributor(tiny_gpt2(), batch_size=2).fit(rows)


def test_positions_behind_that_of_padding_are_fewer():
    """RoBERTa counts positions from behind that of padding, so that 16 of them hold texts of 14 tokens."""
    sizes = {"vocab_size": N_WORDS, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.RobertaConfig(**sizes, intermediate_size=8, max_position_embeddings=16, pad_token_id=1)
    model = transformers.RobertaForSequenceClassification(config)
    of_length = {n: [{**row, "label": i % 2} for i, row in enumerate(tokenized([n, 5, 4]))] for n in (14, 15)}
    attributor(model, "text_classification").fit(of_length[14])
    with pytest.raises(InvalidDataError, match="15 tokens long, but the model has 14 positions"):
        attributor(model, "text_classification").fit(of_length[15])


def test_bad_test_texts_are_refused_too():
    fitted = attributor(tiny_gpt2()).fit(TRAIN)
    with pytest.raises(InvalidDataError, match="test example 3 has token 40"):
        fitted.score(FOREIGN)
    with pytest.raises(ShapeMismatchError):
        fitted.score(padded(TEST, 10)["input_ids"])


def test_a_text_to_text_model_without_labels_is_refused():
    with pytest.raises(InvalidDataError, match="inputs hold no labels"):
        attributor(tiny_t5(), "seq2seq").fit(TRAIN)


def test_blocks_tell_texts_of_other_lengths_apart():
    two = [torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[1, 2], [3, 4]])]
    other = [torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[1], [2], [3], [4]])]

    def digest(batches: list[Any]) -> str:
        return next(read_data([(each, torch.zeros(len(each))) for each in batches], "train").blocks(10)).digest

    assert digest(two) != digest(other)
    assert digest(two) == digest([two[0][:1], two[0][1:], two[1][:1], two[1][1:]])


def test_a_subject_fills_texts_of_both_splits_up_to_the_longest():
    subject = tc.Subject(
        name="texts",
        train=TRAIN,
        test=TEST,
        task="causal_lm",
        make_model=tiny_gpt2,
        train_model=lambda indices, seed: tiny_gpt2(seed),
    )
    for split, rows in ((subject.dataset.train, TRAIN), (subject.dataset.test, TEST)):
        expected = padded(rows, 10)
        assert split.inputs.keys() == expected.keys()
        for name, part in expected.items():
            where = slice(1, None) if name == "labels" else slice(None)  # the first token follows from nothing
            assert np.array_equal(split.inputs[name][:, where], part[:, where].numpy())
        assert np.array_equal(split.labels, split.inputs["labels"])


@pytest.mark.parametrize("with_labels", [True, False])
def test_padding_on_the_left_is_neither_told_nor_counted(with_labels):
    """The first token of a text follows from nothing, wherever it stands, and counts for nothing in its weight."""
    right = padded(TRAIN, 10)
    shifts = [10 - len(row["input_ids"]) for row in TRAIN]
    left = {
        name: torch.stack([row.roll(n) for row, n in zip(part, shifts, strict=True)]) for name, part in right.items()
    }
    positions = {"position_ids": (left["attention_mask"].cumsum(1) - 1).clamp_min(0)}
    if not with_labels:
        del left["labels"]
    found = attributor(tiny_gpt2()).fit({**left, **positions})
    expected = attributor(tiny_gpt2()).fit({**right, "position_ids": torch.arange(10).expand(7, 10)})
    assert apart(found.self_influence(), expected.self_influence()) < 1e-4
