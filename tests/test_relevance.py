"""BM25 and words in common: against the formulas, written out."""

import math
import sys

import numpy as np
import pytest
import torch
from torch import nn

from tests import tiny
from trak_core.engine.method_context import computing_for, examples_of, run_context
from trak_core.errors import NeedNotMetError
from trak_core.media import Picture, Text
from trak_core.methods import METHODS, Examples, GradientSettings, MethodContext, Need, find_method
from trak_core.methods.relevance import K1, B, bm25_scores
from trak_core.modalities import find_modality
from trak_core.tasks import CausalLM, Classification
from trak_core.training import Ensemble

TRAIN = ["the cat sat on the mat", "a dog and a cat", "", "The mat, the cat: on sat.", "stocks fell"]
TEST = ["cat on a mat", "unseen", "", "the the cat"]
QUOTES = ["To be, or not to be", "not a be"]


def context_of(train: list[str], test: list[str], modality: str = "text") -> MethodContext:
    sides = [
        Examples(torch.zeros(len(texts), 2), torch.zeros(len(texts), dtype=torch.int64)) for texts in (train, test)
    ]
    media = [[(Text(text),) for text in texts] for texts in (train, test)]
    return MethodContext(
        Classification(),
        nn.Linear(2, 2),
        [],
        *sides,
        modality=find_modality(modality),
        train_media=media[0],
        test_media=media[1],
    )


def scores(name: str, train: list[str], test: list[str]) -> np.ndarray:
    context = context_of(train, test)
    context.require(name, METHODS[name].info.needs)
    return find_method(name).fit(context).block(slice(None)).numpy()


def plain_bm25(train: list[list[str]], test: list[list[str]]) -> np.ndarray:
    """The sum over the words of a question, with the weight of rare words that Lucene has."""
    n, mean = len(train), sum(map(len, train)) / len(train)

    def weight(word: str, words: list[str]) -> float:
        holding, times = sum(word in other for other in train), words.count(word)
        rarity = math.log(1 + (n - holding + 0.5) / (holding + 0.5))
        return rarity * times / (times + K1 * (1 - B + B * len(words) / mean))

    return np.array([[sum(weight(word, words) for word in asked) for words in train] for asked in test])


@pytest.mark.parametrize("seed", range(3))
def test_bm25_is_its_formula(seed: int):
    random = np.random.default_rng(seed)
    train, test = (
        [[f"w{number}" for number in random.zipf(1.5, random.integers(0, 12)) if number < 50] for _ in range(n)]
        for n in (40, 9)
    )
    np.testing.assert_allclose(bm25_scores(train, test), plain_bm25(train, test), atol=1e-4)


def test_texts_with_the_same_words_have_the_same_score_and_texts_without_words_none():
    found = scores("bm25", TRAIN, TEST)
    assert (found[:, 0] == found[:, 3]).all() and found[3, 0] > found[3, 1] > found[3, 4] == 0
    assert not found[:, 2].any() and not found[1:3].any()
    assert (found[3] >= scores("bm25", TRAIN, ["the cat"])[0]).all()  # a word that is asked twice counts twice


def test_words_in_common_are_the_share_of_different_words_of_the_question():
    found = scores("lexical_overlap", TRAIN, TEST)
    words = [[set(text.lower().replace(",", "").replace(":", "").replace(".", "").split()) for text in texts]
             for texts in (TRAIN, TEST)]  # fmt: skip
    expected = [[len(asked & known) / max(1, len(asked)) for known in words[0]] for asked in words[1]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("asked", "about", "beside"),
    [
        ("猫が好き", "猫が好きな人の猫が好き", "株価が下落した。株価が下落した"),
        ("Straße", "Die STRASSE ist lang", "Der Fluss ist lang"),
        ("кот сидел", "Кот сидел на ковре", "Акции упали"),
        ("n_components", "the components of n points", "the rest of them"),
    ],
)
def test_words_are_those_of_any_script(asked: str, about: str, beside: str):
    for name in ("bm25", "lexical_overlap"):
        row = scores(name, [beside, about], [asked])[0]
        assert row[1] > row[0]


@pytest.mark.parametrize("name", ["text", "passage", "text_pair"])
def test_texts_have_the_same_words_whatever_they_are_given_for(name: str):
    found = find_modality(name).words([(Text("Sätze"), Text("猫が好き。猫が好き"))], [(Text("SÄTZE 猫が好き"),)])
    assert set(found[1][0]) <= set(found[0][0]) and len(found[1][0]) > 2


def test_all_texts_of_an_example_count_and_pictures_do_not():
    context = context_of(["", "one"], ["two"])
    media = [(Picture(b"\x89PNG"), Text("one"), Text("two three", name="question")), (Text("one"),)]
    context = MethodContext(
        context.task, context.architecture, [], context.train, context.test,
        modality=find_modality("image"), train_media=media, test_media=[(Text("two"),)],
    )  # fmt: skip
    assert context.missing([Need.TEXTS]) == []
    assert find_method("bm25").fit(context).block(slice(None)).argmax() == 0
    assert find_method("lexical_overlap").fit(context).block(slice(None)).tolist() == [[1, 0]]


@pytest.mark.parametrize("modality", ["numbers", "text"])
def test_numbers_are_no_words_and_what_has_no_texts_has_none(modality: str):
    context = context_of(QUOTES, QUOTES, modality)
    if modality == "text":
        assert context.missing([Need.TEXTS]) == []
        context = MethodContext(context.task, context.architecture, [], context.train, context.test)
    with pytest.raises(NeedNotMetError, match="'bm25' needs texts of the train and the test examples"):
        context.require("bm25", METHODS["bm25"].info.needs)


def test_a_missing_library_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(NeedNotMetError, match=r"needs the library bm25s, .*; install it: `pip install bm25s`"):
        context_of(QUOTES, QUOTES).require("bm25", METHODS["bm25"].info.needs)


def test_bm25_and_embeddings_are_baselines_and_words_in_common_a_control():
    relevance = [METHODS[name].info for name in ("bm25", "embedding")]
    assert all(info.is_baseline and not info.is_control for info in relevance)
    assert METHODS["lexical_overlap"].info.is_control


def test_the_context_of_a_run_has_what_people_see_of_both_sides():
    subject = tiny.load()
    sides = [examples_of(split, "cpu") for split in (subject.dataset.train, subject.dataset.test)]
    context = run_context(subject, Ensemble.from_models([subject.make_model()], "cpu"), *sides, seed=0)
    assert context.train_media == subject.dataset.train.media
    assert context.test_media == subject.dataset.test.media
    assert context.computing == GradientSettings()


class Words(nn.Module):
    """Tells how many words it knows, as models of Hugging Face do."""

    def __init__(self, n_words: int) -> None:
        super().__init__()
        self.table = nn.Embedding(n_words, 1)

    def get_input_embeddings(self) -> nn.Module:
        return self.table


def test_fewer_texts_are_taken_at_once_where_a_model_makes_much_of_each():
    labels = torch.ones(3, 64, dtype=torch.int64)
    found = [computing_for(CausalLM(), Words(n), labels).batch_size for n in (100, 10_000, 250_000)]
    assert found[0] == 512 and 1 < found[1] < 64 and found[2] == 1
