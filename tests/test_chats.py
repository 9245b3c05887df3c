"""Prompt and completion tables and conversations: what of them a language model reads, and is trained to say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trak_core.datasets.text_pairs import read_text_pairs
from trak_core.errors import EmptyDataError, InvalidDataError, InvalidSettingError
from trak_core.media import Text
from trak_core.modalities import encoding_metadata, find_modality, prepare, read_encoding
from trak_core.modalities.text.subword_tokens import read_tokenizer
from trak_core.modalities.text_pair.chats import Turn, in_one_text, turns_of
from trak_core.modalities.text_pair.pair_tokens import PairTokenizer, PromptCompletion
from trak_core.subjects.bases import learn_tokenizer

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
ASKED = [f"how many {('owls', 'dogs', 'foxes')[i % 3]} are {i} of them" for i in range(20)]
ANSWERS = [f"there are {i} asleep" for i in range(20)]
MESSAGES = [
    [
        {"role": "system", "content": "count animals"},
        {"role": "user", "content": asked},
        {"role": "assistant", "content": answer},
        {"role": "user", "content": "and again\nuser: quoted"},
        {"role": "assistant", "content": f"again {answer}"},
    ]
    for asked, answer in zip(ASKED, ANSWERS, strict=True)
]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of a tokenizer without a chat template and of one with."""
    folders = {}
    for name in ("plain", "chat"):
        folder = tmp_path_factory.mktemp(name)
        learn_tokenizer([*ASKED, *ANSWERS, TEMPLATE, "count animals again"], 320, folder)
        if name == "chat":
            tokenizer: Any = read_tokenizer(str(folder))
            tokenizer.chat_template = TEMPLATE
            tokenizer.save_pretrained(folder)
        folders[name] = str(folder)
    return folders


def _lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def _said(tokenizer: str, inputs: Any) -> list[tuple[str, str]]:
    """What each row says, as it is read, at its prompt and at its labels."""
    tool: Any = read_tokenizer(tokenizer)
    return [
        (tool.decode(ids[(mask > 0) & (labels < 0)]), tool.decode(labels[labels >= 0]))
        for ids, mask, labels in zip(inputs["input_ids"], inputs["attention_mask"], inputs["labels"], strict=True)
    ]


def _prepared(raw: Any, tokenizer: str, longest: int = 256) -> Any:
    return prepare(raw, PairTokenizer(tokenizer, PromptCompletion, longest))


def test_turns_are_read_back_from_the_text_that_people_see_whatever_they_say():
    said = [Turn("system", "a\nuser: b\n\\user: c"), Turn("user", ""), Turn("tool", "  x\n\n"), Turn("assistant", "y")]
    text = in_one_text(said)
    assert [(turn.role, turn.said) for turn in turns_of(text)] == [(turn.role, turn.said) for turn in said]
    assert text.startswith("system: a\n")
    assert turns_of("no turns\nuser: at all") == [Turn("user", "no turns\nuser: at all")]


@pytest.mark.parametrize("how", ["lines", "parquet", "csv", "other names", "parts"])
def test_the_last_turn_of_the_assistant_is_what_is_learnt_in_every_kind_of_table(tmp_path: Path, how: str):
    rows: list[Any] = MESSAGES
    if how == "other names":
        called = {"user": "human", "assistant": "gpt", "system": "system"}
        rows = [[{"from": called[turn["role"]], "value": turn["content"]} for turn in row] for row in MESSAGES]
    if how == "parts":
        rows = [[{**t, "content": [{"type": "text", "text": t["content"]}]} for t in row] for row in MESSAGES]
    path = tmp_path / f"chats.{ {'parquet': 'parquet', 'csv': 'csv'}.get(how, 'jsonl') }"
    if how == "parquet":
        pq.write_table(pa.table({"messages": rows}), path)
    elif how == "csv":
        quoted = ['"' + json.dumps(row).replace('"', '""') + '"' for row in rows]
        path.write_text("\n".join(["number,messages", *(f"{i},{text}" for i, text in enumerate(quoted))]))
    else:
        _lines(path, [{"messages": row} for row in rows])
    raw = read_text_pairs(path, messages="messages")
    sources = [*raw.train.contents["source"], *raw.test.contents["source"]]
    assert sorted([*raw.train.contents["target"], *raw.test.contents["target"]]) == sorted(
        f"again {a}" for a in ANSWERS
    )
    assert {text.splitlines()[1].removeprefix("user: ") for text in sources} == set(ASKED)
    assert [turn.role for turn in turns_of(sources[0])] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize(
    ("turns", "why"),
    [
        ([{"role": "user", "content": "alone"}], "the assistant says nothing"),
        ([{"role": "assistant", "content": "first"}], "nothing is said in it before"),
        ([{"role": "user", "content": None}, {"role": "assistant", "content": "x"}], "a turn of the user that is no"),
        ([{"role": "narrator", "content": "x"}], "a turn of 'narrator'"),
        ([], "no conversation"),
        ("text", "no JSON"),
        (None, "no conversation"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": " "}], "it has no target"),
    ],
)
def test_conversations_that_are_none_are_left_out_with_the_reason(tmp_path: Path, turns: Any, why: str):
    rows = [{"messages": row} for row in [*MESSAGES, turns]]
    raw = read_text_pairs(_lines(tmp_path / "chats.jsonl", rows), messages="messages")
    (skipped,) = raw.skipped
    assert why in skipped.why
    with pytest.raises(EmptyDataError, match=r"has 0 rows with both texts \(12 of 12 rows were left out because"):
        read_text_pairs(_lines(tmp_path / "none.jsonl", [{"messages": turns}] * 12), messages="messages")


def test_columns_are_named_as_pairs_or_as_conversations(tmp_path: Path):
    file = _lines(tmp_path / "chats.jsonl", [{"messages": row, "prompt": "x"} for row in MESSAGES])
    with pytest.raises(InvalidSettingError, match=r"source is missing; .*conversations \(messages\)"):
        read_text_pairs(file)
    with pytest.raises(InvalidSettingError, match="target is missing"):
        read_text_pairs(file, source="prompt")
    with pytest.raises(InvalidSettingError, match="takes the place of source and target"):
        read_text_pairs(file, source="prompt", messages="messages")
    with pytest.raises(InvalidDataError, match=r"no column 'massages'.*Did you mean 'messages'"):
        read_text_pairs(file, messages="massages")


@pytest.mark.parametrize("by_template", [True, False])
def test_a_chat_template_is_applied_unless_it_is_left_out(
    tokenizers: dict[str, str], tmp_path: Path, by_template: bool
):
    rows = [{"prompt": asked, "completion": answer} for asked, answer in zip(ASKED, ANSWERS, strict=True)]
    file = _lines(tmp_path / "p.jsonl", rows)
    raw = read_text_pairs(file, "prompt", "completion", no_chat_template=not by_template)
    data = _prepared(raw, tokenizers["chat"])
    pairs = zip(raw.train.contents["source"], raw.train.contents["target"], strict=True)
    wanted = [
        (f"<user>{asked}<end><assistant>", f"{answer}<end>") if by_template else (asked, answer)
        for asked, answer in pairs
    ]
    assert _said(tokenizers["chat"], data.train.inputs) == wanted
    (note,) = data.encoding.notes(raw.train.contents, "train")
    assert ("is applied" in note) == by_template


def test_conversations_go_through_the_template_whole_and_without_one_as_people_read_them(
    tokenizers: dict[str, str], tmp_path: Path
):
    raw = read_text_pairs(_lines(tmp_path / "c.jsonl", [{"m": row} for row in MESSAGES]), messages="m")
    by_template = _prepared(raw, tokenizers["chat"])
    prompt, completion = _said(tokenizers["chat"], by_template.test.inputs)[0]
    asked = turns_of(raw.test.contents["source"][0])[1].said
    assert prompt.startswith(f"<system>count animals<end><user>{asked}<end><assistant>")
    assert prompt.endswith("<user>and again\nuser: quoted<end><assistant>")
    assert completion == f"{raw.test.contents['target'][0]}<end>"
    plain = _prepared(raw, tokenizers["plain"])
    prompt, completion = _said(tokenizers["plain"], plain.train.inputs)[0]
    assert prompt == raw.train.contents["source"][0] + "\nassistant: "
    assert completion == raw.train.contents["target"][0]
    assert "has no chat template" in plain.encoding.notes(raw.test.contents, "test")[0]


def test_tokens_of_a_template_stand_nowhere_and_all_others_where_people_read_them(
    tokenizers: dict[str, str], tmp_path: Path
):
    raw = read_text_pairs(_lines(tmp_path / "c.jsonl", [{"m": row} for row in MESSAGES]), messages="m")
    encoding = _prepared(raw, tokenizers["chat"]).encoding
    texts = [raw.test.contents["source"][0], raw.test.contents["target"][0]]
    places = encoding.tokens_read(texts)
    shown = ["".join(texts[i][p.start : p.end] for p in places if p.text == i) for i in (0, 1)]
    assert shown[1] == texts[1]
    said = "".join(turn.said for turn in turns_of(texts[0]))
    assert shown[0] == said
    inputs = encoding.inputs({"source": texts[:1], "target": texts[1:]})
    assert len(places) == int(inputs["attention_mask"].sum())


def test_long_prompts_lose_their_beginning_and_it_is_told(tokenizers: dict[str, str], tmp_path: Path):
    rows = [{"p": f"{asked} " * 12 + "now", "c": answer} for asked, answer in zip(ASKED, ANSWERS, strict=True)]
    raw = read_text_pairs(_lines(tmp_path / "p.jsonl", rows), "p", "c")
    data = _prepared(raw, tokenizers["plain"], longest=40)
    assert data.train.inputs["input_ids"].shape[1] <= 40
    for (prompt, completion), target in zip(
        _said(tokenizers["plain"], data.train.inputs), raw.train.contents["target"], strict=True
    ):
        assert prompt.endswith("now")
        assert completion == target
    notes = data.encoding.notes(raw.train.contents, "train")
    assert any("16 of 16 train prompts are longer than" in note and "cut at the beginning" in note for note in notes)


def test_a_run_reads_its_conversations_back_from_what_it_shows(tokenizers: dict[str, str], tmp_path: Path):
    raw = read_text_pairs(_lines(tmp_path / "c.jsonl", [{"m": row} for row in MESSAGES]), messages="m")
    data = _prepared(raw, tokenizers["chat"])
    modality = find_modality("text_pair")
    kept = read_encoding(json.loads(json.dumps(encoding_metadata(data.encoding))))
    media = [(Text(one[0].text), *one[1:]) for one in data.train.media]
    again = kept.inputs(modality.contents(media, kept))
    for name, part in data.train.inputs.items():
        np.testing.assert_array_equal(again[name], part)


def test_runs_from_before_templates_read_their_pairs_as_they_did():
    kept = {"tokenizer": "t", "length": 3, "target_length": 2}
    assert PromptCompletion.from_metadata(kept) == PromptCompletion("t", 3, 2, by_template=False, has_turns=False)


def test_a_template_that_refuses_a_conversation_is_told_before_anything_is_trained(
    tokenizers: dict[str, str], tmp_path: Path
):
    folder = tmp_path / "strict"
    tokenizer: Any = read_tokenizer(tokenizers["plain"])
    tokenizer.save_pretrained(folder)
    strict: Any = read_tokenizer(str(folder))
    strict.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    strict.save_pretrained(folder)
    raw = read_text_pairs(_lines(tmp_path / "c.jsonl", [{"m": row} for row in MESSAGES]), messages="m")
    with pytest.raises(
        InvalidDataError, match=r"refuses a conversation of system, user.*no system role.*--no-chat-temp"
    ):
        _prepared(raw, str(folder))


def test_a_typed_prompt_is_begun_as_prompts_were_in_training(tokenizers: dict[str, str], tmp_path: Path):
    rows = [{"prompt": asked, "completion": answer} for asked, answer in zip(ASKED, ANSWERS, strict=True)]
    encoding = _prepared(
        read_text_pairs(_lines(tmp_path / "p.jsonl", rows), "prompt", "completion"), tokenizers["chat"]
    ).encoding
    whole = encoding.inputs({"source": ASKED[:1], "target": ANSWERS[:1]})
    (prompt,) = encoding.begun(ASKED[0]).inputs["input_ids"]
    np.testing.assert_array_equal(prompt, whole["input_ids"][0][: len(prompt)])
    assert (whole["labels"][0][: len(prompt)] < 0).all()
    assert whole["labels"][0][len(prompt)] >= 0
