"""Language models on a person's own text: what is read, what is refused, and builds from one command."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from trak_core.datasets.custom_data import CustomData
from trak_core.datasets.passage_files import PASSAGES_A_PART, read_passages
from trak_core.datasets.text_pairs import read_text_pairs
from trak_core.engine.custom_build import CustomBuild, build_custom_data
from trak_core.errors import EmptyDataError, InvalidDataError, InvalidModelError, InvalidSettingError, NeedNotMetError
from trak_core.modalities import prepare
from trak_core.store.run import open_run
from trak_core.subjects.bases import learn_tokenizer
from trak_core.subjects.custom_data import custom_recipe
from trak_core.subjects.models_by_name import find_model
from trak_core.subjects.of_run import read_subject

LINES = [f"line {i} says that the {('fox', 'dog', 'owl')[i % 3]} number {i} sleeps well" for i in range(120)]
PAIRS = [
    {"question": f"how many {'owls' if i % 2 else 'dogs'} are {i} of them", "answer": f"there are {i}"}
    for i in range(40)
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of a tiny GPT-2 and a tiny T5 with their tokenizers, as `save_pretrained` writes them."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

    folders = {}
    small = {"vocab_size": 320, "pad_token_id": 0, "eos_token_id": 2}
    gpt2 = GPT2Config(n_positions=32, n_embd=8, n_layer=1, n_head=2, bos_token_id=2, **small)
    t5 = T5Config(d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0, **small)
    for name, make in (("gpt2", lambda: GPT2LMHeadModel(gpt2)), ("t5", lambda: T5ForConditionalGeneration(t5))):
        folder = tmp_path_factory.mktemp(name)
        learn_tokenizer([*LINES, *(text for pair in PAIRS for text in pair.values())], 320, folder)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            make().save_pretrained(folder)
        folders[name] = str(folder)
    return folders


# --- running text -----------------------------------------------------------------------------------------------


def test_passages_hold_all_lines_of_a_text_and_parts_are_its_documents(tmp_path: Path):
    file = tmp_path / "animals.txt"
    file.write_text("\n".join(LINES), encoding="utf-8")
    raw = read_passages(file, words=10)
    assert len(raw.train) + len(raw.test) == len(LINES)
    assert sorted([*raw.train.contents, *raw.test.contents]) == sorted(LINES)
    names = {f"animals.txt, part {part + 1}" for part in range(-(-len(LINES) // PASSAGES_A_PART))}
    assert {*raw.train.origins, *raw.test.origins} == names


def test_documents_begin_at_headings_or_are_the_files_of_a_folder(tmp_path: Path):
    file = tmp_path / "book.txt"
    file.write_text("\n".join(["CHAPTER I", *LINES[:60], "CHAPTER II", *LINES[60:]]), encoding="utf-8")
    of_headings = read_passages(file, words=10, heading="CHAPTER .*")
    assert {*of_headings.train.origins} == {"book.txt: CHAPTER I", "book.txt: CHAPTER II"}
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "second.md").write_text("\n".join(LINES), encoding="utf-8")
    assert {*read_passages(tmp_path, words=10).train.origins} == {"book.txt", "more/second.md"}


def test_a_paragraph_on_one_line_is_cut_between_words(tmp_path: Path):
    file = tmp_path / "long.txt"
    file.write_text(" ".join(LINES), encoding="utf-8")
    raw = read_passages(file, words=20)
    assert all(len(text.split()) <= 20 for text in raw.train.contents)
    words = [word for text in [*raw.train.contents, *raw.test.contents] for word in text.split()]
    assert len(words) >= 0.97 * len(" ".join(LINES).split())


@pytest.mark.parametrize(
    ("text", "options", "error", "said"),
    [
        ("", {}, EmptyDataError, "holds 0 passages"),
        ("two words", {}, EmptyDataError, "10 or more are needed"),
        ("\n".join(LINES), {"words": 2}, InvalidSettingError, "words=2"),
        ("\n".join(LINES), {"heading": "("}, InvalidSettingError, "no regular expression"),
        ("\n".join(LINES), {"test_share": 1.5}, InvalidSettingError, "test_share"),
    ],
)
def test_what_makes_no_passages_is_refused(
    tmp_path: Path, text: str, options: dict[str, object], error: type[Exception], said: str
):
    file = tmp_path / "text.txt"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(error, match=said):
        read_passages(file, **options)  # type: ignore[arg-type]


def test_a_folder_without_texts_is_refused(tmp_path: Path):
    with pytest.raises(InvalidDataError, match=r"no text files; they end in \.txt"):
        read_passages(tmp_path)


# --- pairs ------------------------------------------------------------------------------------------------------


def _table(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_pairs_without_one_of_their_texts_are_left_out_and_named(tmp_path: Path):
    rows = [*PAIRS, {"question": "and now", "answer": None}, {"question": " ", "answer": "yes"}]
    raw = read_text_pairs(_table(tmp_path / "pairs.jsonl", rows), "question", "answer")
    assert [one.why for one in raw.skipped] == ["it has no target", "it has no source"]
    assert len(raw.train) == 32
    assert len(raw.test) == 8
    pairs = dict(zip(raw.train.contents["source"], raw.train.contents["target"], strict=True))
    assert {pair["question"]: pair["answer"] for pair in PAIRS}.items() >= pairs.items()


def test_a_column_of_splits_decides_what_is_trained_on(tmp_path: Path):
    rows = [{**pair, "split": "test" if i < 5 else "train"} for i, pair in enumerate(PAIRS)]
    raw = read_text_pairs(_table(tmp_path / "pairs.jsonl", rows), "question", "answer", split="split")
    assert raw.test.contents["source"] == [pair["question"] for pair in PAIRS[:5]]
    assert len(raw.train) == 35


def test_few_pairs_and_one_column_for_both_are_refused(tmp_path: Path):
    with pytest.raises(EmptyDataError, match="has 3 rows with both texts"):
        read_text_pairs(_table(tmp_path / "few.jsonl", PAIRS[:3]), "question", "answer")
    with pytest.raises(InvalidSettingError, match="a column of its own"):
        read_text_pairs(_table(tmp_path / "pairs.jsonl", PAIRS), "question", "question")


# --- models -----------------------------------------------------------------------------------------------------


def test_a_model_of_another_kind_is_refused_before_anything_is_trained(models: dict[str, str]):
    with pytest.raises(InvalidSettingError, match="is a t5 model, and none that goes on with a text"):
        find_model(f"huggingface:{models['t5']}", "passage")


def test_pairs_go_to_whichever_kind_the_model_is_of(models: dict[str, str]):
    assert find_model(f"huggingface:{models['t5']}", "text_pair").task == "seq2seq"
    assert find_model(f"huggingface:{models['gpt2']}", "text_pair").task == "causal_lm"


@pytest.mark.parametrize("rank", ["0", "-1", "x", ""])
def test_a_rank_that_cannot_be_is_refused(models: dict[str, str], rank: str):
    with pytest.raises(InvalidSettingError, match="the rank of adapters"):
        find_model(f"huggingface:{models['gpt2']}?lora={rank}", "passage")


def test_passages_need_a_model_to_be_named():
    data = CustomData("passages", "nowhere.txt")
    with pytest.raises(NeedNotMetError, match="huggingface:FOLDER"):
        from trak_core.modalities import find_modality

        find_modality(data.about.modalities[0]).usual_model([])


def test_adapters_are_all_that_is_trained(models: dict[str, str]):
    made = find_model(f"huggingface:{models['gpt2']}?lora=2", "passage").make({})
    trained = [name for name, value in made.named_parameters() if value.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["whole", "adapters", "prompts", "conversations", "text-to-text"])
def test_one_command_leads_to_scores_and_the_run_makes_its_subject_again(
    models: dict[str, str], tmp_path: Path, how: str
):
    if how in ("whole", "adapters"):
        file = tmp_path / "animals.txt"
        file.write_text("\n".join(LINES), encoding="utf-8")
        source = CustomData("passages", file, words=10)
        model = f"huggingface:{models['gpt2']}" + ("?lora=2" if how == "adapters" else "")
    elif how == "conversations":
        sides = (("user", "question"), ("assistant", "answer"))
        rows = [{"chat": [{"role": role, "content": pair[key]} for role, key in sides]} for pair in PAIRS]
        source = CustomData("text-to-text", _table(tmp_path / "c.jsonl", rows), messages="chat")
        model = f"huggingface:{models['gpt2']}"
    else:
        source = CustomData("text-to-text", _table(tmp_path / "p.jsonl", PAIRS), source="question", target="answer")
        model = f"huggingface:{models['t5' if how == 'text-to-text' else 'gpt2']}"
    halves = {"n_subsets": 20, "n_seeds": 1} if how == "whole" else {"n_subsets": 0}
    asked = CustomBuild(model=model, n_checkpoints=2, n_test=6, n_train=24, **halves)
    run_dir = build_custom_data(source, asked, "mine", tmp_path / "runs")
    with open_run(run_dir) as run:
        scores = run.scores("trak")
        assert scores.shape == (6, 24)
        assert np.isfinite(scores).all()
        assert bool(run.rows("SELECT count(*) FROM lds_summary")[0][0]) == (how == "whole")
        subject = read_subject(run)
        assert subject.dataset.fingerprint() == run.info.provenance["data_fingerprint"]
        assert subject.training_facts == run.info.provenance["training"]


def test_the_tokenizer_of_another_model_is_refused_before_anything_is_trained(models: dict[str, str], tmp_path: Path):
    from transformers import GPT2Config, GPT2LMHeadModel

    other = tmp_path / "other"
    learn_tokenizer(LINES, 320, other)
    GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=32, n_embd=8, n_layer=1, n_head=2)).save_pretrained(other)
    file = tmp_path / "animals.txt"
    file.write_text("\n".join(LINES), encoding="utf-8")
    asked = CustomBuild(model=f"huggingface:{other}", n_checkpoints=2, n_subsets=20, n_seeds=1)
    with pytest.raises(InvalidModelError, match="the tokenizer belongs to another model"):
        build_custom_data(CustomData("passages", file, words=10), asked, "mine", tmp_path / "runs")


def test_half_of_a_few_passages_still_fills_a_batch_twice(models: dict[str, str], tmp_path: Path):
    file = tmp_path / "few.txt"
    file.write_text("\n".join(LINES[:15]), encoding="utf-8")
    model = find_model(f"huggingface:{models['gpt2']}", "passage")
    recipe = custom_recipe("passages", prepare(read_passages(file, words=10), model.takes), model)
    training = recipe.load().training
    assert training is not None
    assert training.batch_size == 3  # of 12 train passages
    assert "classes" not in recipe.description
