"""What language models are given: passages, pairs of texts, and the prose and functions of installed packages."""

from pathlib import Path

import numpy as np
import pytest

from trak_core.datasets.named_functions import first_sentence, pairs_of
from trak_core.datasets.package_prose import prose_of, runs_of_words, without_copies
from trak_core.datasets.passages import cut_into_passages
from trak_core.errors import InvalidDataError
from trak_core.modalities import RawData, RawSplit, find_modality, prepare, read_encoding
from trak_core.modalities.passage.passage_tokens import PassageTokenizer, PassageTokens
from trak_core.modalities.registry import encoding_metadata
from trak_core.modalities.text_pair.pair_tokens import PairTokenizer, PromptCompletion, SourceTarget
from trak_core.subjects.bases import Base, base_folder, learn_tokenizer

WORDS = "the quick brown fox jumps over the lazy dog while seven wizards boil jugs of quartz and liquor"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    learn_tokenizer([WORDS] * 3, 320, folder)
    return str(folder)


# --- passages ---------------------------------------------------------------------------------------------------


def test_passages_hold_all_words_in_order_and_none_is_cut(tokenizer: str):
    text = " ".join([WORDS, WORDS, WORDS])
    passages = cut_into_passages(text, tokenizer, 12)
    assert " ".join(passages).split() == text.split()
    mask = PassageTokens(tokenizer, 30).inputs(passages)["attention_mask"]
    assert mask.sum(1).max() <= 13  # the first word of a passage is read without its blank


def test_a_word_longer_than_a_passage_is_cut(tokenizer: str):
    passages = cut_into_passages("z" * 100, tokenizer, 12)
    assert "".join(passages) == "z" * 100
    assert len(passages) > 1


def test_what_is_left_of_a_text_is_left_out_where_it_is_too_short(tokenizer: str):
    assert cut_into_passages("a b", tokenizer, 12, least=8) == []


def test_a_model_is_trained_on_every_token_of_a_passage_and_no_padding(tokenizer: str):
    raw = RawData("few", "text", (), RawSplit([WORDS, "fox"], np.zeros(2)), RawSplit([WORDS], np.zeros(1)))
    dataset = prepare(raw, PassageTokenizer(tokenizer, 16))
    inputs, labels = dataset.train.inputs, dataset.train.labels
    assert isinstance(inputs, dict)
    real = inputs["attention_mask"] > 0
    assert real.sum(1).tolist()[0] == 16
    assert (labels[real] == inputs["input_ids"][real]).all()
    assert (labels[~real] == -100).all()


def test_tokens_of_a_passage_stand_where_they_are_read(tokenizer: str):
    encoding = PassageTokens(tokenizer, 64)
    spans = encoding.token_spans(WORDS)
    assert "".join(WORDS[start:stop] for start, stop in spans) == WORDS
    assert len(spans) == encoding.inputs([WORDS])["attention_mask"].sum()


# --- pairs ------------------------------------------------------------------------------------------------------

PAIRS = {"source": ["the lazy dog", "the quick brown fox jumps over"], "target": ["boil jugs", "quartz"]}


def test_of_prompt_and_completion_only_the_completion_is_learnt(tokenizer: str):
    inputs = PromptCompletion(tokenizer, 5, 4).inputs(PAIRS)
    for row in range(2):
        asked = inputs["labels"][row] >= 0
        assert (inputs["labels"][row][asked] == inputs["input_ids"][row][asked]).all()
        first = int(asked.argmax())
        assert first > 0
        assert asked[first : first + asked.sum()].all()  # in one piece, behind the prompt
    whole = PromptCompletion(tokenizer, 50, 4).inputs(PAIRS)
    kept = inputs["input_ids"][1][:5]
    at = int((whole["labels"][1] >= 0).argmax())
    assert (kept == whole["input_ids"][1][at - 5 : at]).all()  # the end of a prompt that is too long


def test_a_model_from_text_to_text_reads_the_source_and_is_trained_on_the_target(tokenizer: str):
    inputs = SourceTarget(tokenizer, 20, 8).inputs(PAIRS)
    alone = SourceTarget(tokenizer, 20, 8).inputs({"source": PAIRS["target"], "target": PAIRS["source"]})
    real = alone["attention_mask"][:, :8] > 0
    assert (inputs["labels"] == np.where(real, alone["input_ids"][:, :8], -100)).all()


@pytest.mark.parametrize("kind", [SourceTarget, PromptCompletion])
def test_pairs_come_back_from_what_people_see_and_the_encoding_from_a_run(
    tokenizer: str, kind: type[SourceTarget] | type[PromptCompletion]
):
    modality = find_modality("text_pair")
    encoding = PairTokenizer(tokenizer, kind, 40, 10).learn(PAIRS, "few")
    assert modality.contents(modality.media(PAIRS), encoding) == PAIRS
    again = read_encoding(encoding_metadata(encoding))
    assert again == encoding
    for name, values in encoding.inputs(PAIRS).items():
        assert (again.inputs(PAIRS)[name] == values).all()


def test_a_pair_that_lost_a_text_is_refused():
    modality = find_modality("text_pair")
    with pytest.raises(InvalidDataError, match="pairs have two each"):
        modality.contents([modality.media(PAIRS)[0][:1]], SourceTarget("x", 2, 2))


# --- installed packages -----------------------------------------------------------------------------------------


def test_prose_is_read_of_a_part_of_a_package_without_markup():
    prose = prose_of("networkx.readwrite")
    assert len(prose) > 50
    assert len(set(prose)) == len(prose)
    assert not any(">>>" in text[:4] or "\n" in text for text in prose)
    assert set(prose) <= set(prose_of("networkx"))


def test_a_part_that_is_not_there_is_named():
    with pytest.raises(InvalidDataError, match="no part 'invented'"):
        prose_of("networkx.invented")
    with pytest.raises(InvalidDataError, match="'invented' are read, but it is not installed"):
        prose_of("invented")


def test_texts_that_share_eight_words_are_copies():
    known = runs_of_words(["One two three four five six seven eight nine."])
    texts = ["zero TWO three four five six seven eight nine ten", "two three four five six seven eight", "another"]
    assert without_copies(texts, known) == texts[1:]


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("Return the sum of all\n    numbers. More.", "Return the sum of all numbers."),
        ("Return the shortest path between nodes\n\nMore.", "Return the shortest path between nodes"),
        ("Short.", None),
        (">>> example of how this may be called", None),
        ("x" * 200, None),
    ],
)
def test_the_first_sentence_is_what_a_function_does(docstring: str, sentence: str | None):
    assert first_sentence(docstring) == sentence


def test_functions_are_told_by_a_sentence_and_their_name_in_words():
    pairs = pairs_of("networkx")
    assert any(name == "shortest path" for _, name, _ in pairs)
    assert len({sentence for sentence, _, _ in pairs}) == len(pairs) > 300
    assert all(origin.startswith("networkx/") for _, _, origin in pairs)


# --- bases ------------------------------------------------------------------------------------------------------


def test_a_base_is_made_once_and_anew_for_other_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "weights").write_text("1")

    first = base_folder(Base("toy", {"width": 1}, ("numpy",)), make)
    assert base_folder(Base("toy", {"width": 1}, ("numpy",)), make) == first
    assert (first / "weights").read_text() == "1"
    assert base_folder(Base("toy", {"width": 2}, ("numpy",)), make) != first
    assert len(made) == 2


def test_a_base_that_failed_half_way_is_not_taken_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))

    def fail(folder: Path) -> None:
        (folder / "weights").write_text("half")
        raise MemoryError

    with pytest.raises(MemoryError):
        base_folder(Base("toy", {}, ("numpy",)), fail)
    whole = base_folder(Base("toy", {}, ("numpy",)), lambda folder: (folder / "weights").write_text("whole"))
    assert (whole / "weights").read_text() == "whole"


def test_a_run_says_that_its_base_is_not_here_and_makes_none_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    base = Base("toy", {}, ("numpy",))
    assert "`python -m trak_core build toy` makes it" in str(base.why_not_here())
    base_folder(base, lambda folder: None)
    assert base.why_not_here() is None
    assert "which is not installed" in str(Base("toy", {}, ("invented",)).why_not_here())
