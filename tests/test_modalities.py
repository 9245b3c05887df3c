"""The seam between kinds of examples: what differs is said in one place, kept whole, and asked nowhere else."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trak_core.datasets.digits import Ink
from trak_core.errors import EmptyDataError, InvalidDataError, InvalidSettingError, NeedNotMetError, StoreDamagedError
from trak_core.inputs import as_tensors, count, flat_rows, take
from trak_core.media import Medium, Picture, Text, media_of, split_media
from trak_core.modalities import (
    MODALITIES,
    Dataset,
    Encoding,
    Modality,
    RawData,
    RawSplit,
    Split,
    encoding_metadata,
    find_modality,
    prepare,
    read_encoding,
    register_modality,
    seen_in,
)
from trak_core.modalities.text.subword_tokens import SubwordTokens

ROOT = Path(__file__).resolve().parents[1]
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
TEXTS = ["A good film", "a bad film", "good plot, good film", "no plot", "a film <b>שלום</b>"]
NUMBERS = np.array([[5.1, -0.1], [1e-7, 3.0], [0.1, 1e20], [2.0, 2.5], [-3.0, 1 / 3]], dtype=np.float32)
CONTENTS: dict[str, Any] = {"image": PIXELS, "text": TEXTS, "numbers": NUMBERS}


# --- one place ------------------------------------------------------------------------------------------------

ASKING = re.compile(
    r"(?<!for )\bmodality (?:==|!=|in|not in) "
    r"|[\"'](?:image|text|numbers)[\"'] *(?:==|!=)|(?:==|!=) *[\"'](?:image|text|numbers)[\"']"
    r"|case [\"'](?:image|text|numbers)[\"']"
    r"|isinstance\([^)]*\b(?:Pixels|Vocabulary|WordIds|SubwordTokens|Standardised|\w*Modality)\b"
)


def test_nobody_else_asks_what_an_example_is():
    asked = [
        f"{path.relative_to(ROOT)}: {found.group()}"
        for folder in ("trak_core", "pages")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not {"modalities", "tasks"} & set(path.relative_to(ROOT).parts)
        for found in ASKING.finditer(path.read_text(encoding="utf-8"))
    ]
    assert asked == []


def test_pages_and_views_draw_media_and_read_no_column_of_their_own():
    asked = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "pages").rglob("*.py"))
        if re.search(r"\.(thumbnail|picture)\b", path.read_text(encoding="utf-8"))
    ]
    assert asked == []


# --- the registry ---------------------------------------------------------------------------------------------


class Whole(Modality):
    """A modality with all that is needed, and no more."""

    name, noun, plural = "whole", "thing", "things"

    def media(self, contents: Any) -> list[tuple[Medium, ...]]:
        return [(Text(str(one)),) for one in contents]

    def contents(self, media: Sequence[tuple[Medium, ...]], encoding: Encoding) -> Any:
        return [one[0] for one in media]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Modality]:
    """The registry, which forgets what a test adds."""
    copy = dict(MODALITIES)
    yield MODALITIES
    MODALITIES.clear()
    MODALITIES.update(copy)


def test_a_modality_is_known_once_it_is_registered(registry):
    with pytest.raises(
        InvalidSettingError, match="modality='whole'; it must be one of: image, text, passage, text_pair, numbers"
    ):
        find_modality("whole")
    register_modality(Whole)
    assert find_modality("whole").plural == "things"


def test_a_name_that_is_taken_is_refused(registry):
    register_modality(Whole())
    with pytest.raises(InvalidSettingError, match="a modality 'whole' already, Whole; give Whole another name"):
        register_modality(Whole)


def test_an_encoding_whose_kind_is_taken_is_refused(registry):
    class Other(Whole):
        name = "other"
        encodings = find_modality("image").encodings

    with pytest.raises(InvalidSettingError, match="'other' has an encoding 'pixels', and so has 'image'"):
        register_modality(Other)
    assert "other" not in registry


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ({"noun": None}, "Lacking is no complete modality: it lacks noun; see docs/adding-a-modality.md"),
        ({"media": Modality.media}, "it lacks media"),
        ({"noun": ""}, "it lacks noun"),
        ({"encodings": (type("Nameless", (Ink,), {"kind": None}),)}, r"it lacks Nameless\.kind"),
        ({"encodings": (type("Half", (Encoding,), {"kind": "half"}),)}, r"it lacks Half\.inputs"),
        (
            {"encodings": (dict, 3)},
            "lacks the base class Encoding of dict in encodings, the base class Encoding of 3 in",
        ),
        ({"encodings": Ink}, "lacks a tuple of Encoding classes as encodings"),
        (
            {"__init__": lambda self, size: None},
            r"making the modality by Lacking\(\) fails with TypeError: .*; register an",
        ),
    ],
)
def test_an_incomplete_modality_is_refused_by_one_sentence(registry, missing, says):
    lacking = type("Lacking", (Whole,), {"name": "lacking", **missing})
    with pytest.raises(InvalidSettingError, match=says) as refused:
        register_modality(lacking)
    assert "\n" not in str(refused.value) and "lacking" not in registry


def test_what_is_no_modality_is_refused(registry):
    with pytest.raises(InvalidSettingError, match="dict is no complete modality: it lacks the base class Modality"):
        register_modality(dict)  # type: ignore[arg-type]


# --- nothing gets lost ----------------------------------------------------------------------------------------


def every_encoding() -> list[tuple[Any, Encoding]]:
    found: list[tuple[Any, Encoding]] = [
        (CONTENTS[name], encoding.learn(CONTENTS[name], "data"))
        for name, modality in MODALITIES.items()
        if name in CONTENTS
        for encoding in modality.encodings
        if encoding.is_learnt
    ]
    return [*found, (np.zeros((2, 8, 8), dtype=np.float32), Ink(0.3, 0.2)), (None, SubwordTokens("folder", 7))]


@pytest.mark.parametrize(("contents", "encoding"), every_encoding(), ids=lambda value: getattr(value, "kind", ""))
def test_an_encoding_comes_back_from_a_run_as_it_was(contents, encoding):
    kept = json.loads(json.dumps(encoding_metadata(encoding)))
    assert kept["kind"] == encoding.kind
    again = type(encoding).from_metadata(kept)
    assert encoding_metadata(again) == kept
    assert again.sizes() == encoding.sizes() and again.description() == encoding.description()
    assert set(encoding.sizes()) <= set(encoding.size_names)
    if contents is not None:
        np.testing.assert_array_equal(again.inputs(contents), encoding.inputs(contents))
        assert len(encoding.inputs(contents)) == len(contents)
    if encoding.kind != Ink.kind:  # of a recipe, which brings its own
        assert encoding_metadata(read_encoding(kept)) == kept


def test_a_run_without_an_encoding_or_with_one_of_a_foreign_kind_gives_none():
    assert read_encoding(None) is None and read_encoding({}) is None
    assert read_encoding({"kind": "of a modality that is not here"}) is None


@pytest.mark.parametrize("kept", [{"kind": "pixels"}, {"words": []}, "vocabulary", {"kind": []}, {"kind": "word_ids"}])
def test_an_encoding_that_is_not_whole_is_a_damaged_store(kept):
    with pytest.raises(StoreDamagedError, match="is not whole"):
        read_encoding(kept)


@pytest.mark.parametrize("name", list(CONTENTS))
def test_contents_come_back_from_their_media(name):
    modality, contents = find_modality(name), CONTENTS[name]
    encoding = modality.encodings[0].learn(contents, "data")
    media = modality.media(contents)
    # As a store has them: the first picture, the first text, then the others.
    stored = [media_of(*split_media(one)) for one in media]
    again = modality.contents(stored, encoding)
    assert type(again) is type(contents)
    np.testing.assert_array_equal(again, contents)
    np.testing.assert_array_equal(encoding.inputs(again), encoding.inputs(contents))


@pytest.mark.parametrize("name", ["image", "text"])
def test_examples_without_what_their_modality_shows_are_refused(name):
    modality = find_modality(name)
    encoding = modality.encodings[0].learn(CONTENTS[name], "data")
    with pytest.raises(InvalidDataError, match="0 of 1 examples have a"):
        modality.contents([()], encoding)


@pytest.mark.parametrize("name", list(CONTENTS))
def test_data_of_every_modality_are_prepared_by_its_usual_encoding(name):
    labels = np.array([0, 1, 0, 1, 0])
    part = RawSplit(CONTENTS[name], labels)
    dataset = prepare(RawData("data", name, ("a", "b"), part, part.take(np.array([3, 1]))))
    assert dataset.encoding.kind == find_modality(name).encodings[0].kind
    assert (len(dataset.train), len(dataset.test)) == (5, 2)
    np.testing.assert_array_equal(dataset.test.inputs, take(dataset.train.inputs, np.array([3, 1])))
    assert dataset.test.media == [dataset.train.media[3], dataset.train.media[1]]
    with pytest.raises(NeedNotMetError, match=r"have no encoding 'none'; there are: \w+"):
        prepare(RawData("data", name, ("a", "b"), part, part), "none")


def test_media_are_kept_as_a_store_has_them():
    picture, text, marked, other = Picture(b"p"), Text("t"), Text("m", "note", ((0, 1, 0.5),)), Picture(b"q", "side")
    assert split_media((marked, picture, other, text)) == (b"p", "t", (marked, other))
    split = Split.of(np.zeros((2, 1)), np.zeros(2), [(picture, text, marked), (other,) * 2 + (text,)])
    assert (split.thumbnails, split.texts, split.further) == ([b"p", b"q"], ["t", "t"], [(marked,), (other,)])
    assert split.media[0] == (picture, text, marked)
    assert split.take(slice(1, 2)).media == [(Picture(b"q"), text, other)]
    with pytest.raises(InvalidSettingError, match="1 of 2 examples have a picture; give each of them one, or none any"):
        Split.of(np.zeros((2, 1)), np.zeros(2), [(picture,), (text,)])


# --- inputs in parts, labels without classes ------------------------------------------------------------------

LABELS = np.array([0, 1, 0, 1, 1])
PARTS: Mapping[str, Any] = {
    "one array": np.arange(10, dtype=np.float32).reshape(5, 2),
    "a tuple": (np.arange(10, dtype=np.float32).reshape(5, 2), np.arange(5)[:, None]),
    "a dict": {"ids": np.arange(10).reshape(5, 2), "mask": np.ones((5, 2), dtype=np.int64)},
}


@pytest.mark.parametrize("inputs", PARTS.values(), ids=PARTS)
def test_inputs_may_come_in_parts(inputs):
    part = Split(inputs, LABELS)
    dataset = Dataset("data", "numbers", ("a", "b"), part, part.take(slice(3)))
    assert (count(inputs), count(dataset.test.inputs)) == (5, 3)
    assert flat_rows(inputs).shape == (5, flat_rows(inputs).shape[1])
    tensors = as_tensors(inputs)
    assert type(tensors) is (torch.Tensor if isinstance(inputs, np.ndarray) else type(inputs))
    np.testing.assert_array_equal(flat_rows(take(inputs, np.array([4, 0])))[1], flat_rows(inputs)[0])
    with pytest.raises(InvalidSettingError, match="5 inputs and 4 labels"):
        Dataset("data", "numbers", ("a", "b"), Split(inputs, LABELS[:4]), part)


def test_the_fingerprint_sees_every_part_its_name_and_every_label():
    def fingerprint(inputs: Any, labels: Any = LABELS, names: tuple[str, ...] = ("a", "b")) -> str:
        return Dataset("data", "numbers", names, Split(inputs, labels), Split(inputs, labels)).fingerprint()

    one = PARTS["a dict"]
    others = [
        fingerprint({**one, "mask": 1 - one["mask"]}),
        fingerprint({"ids": one["ids"], "other": one["mask"]}),
        fingerprint((one["ids"], one["mask"])),
        fingerprint(one, 1 - LABELS),
        fingerprint(one, names=("a", "c")),
    ]
    assert len({fingerprint(one), *others}) == 6
    assert fingerprint(dict(reversed(one.items()))) == fingerprint(one), "a dict is the same in any order"


def test_parts_of_different_lengths_are_refused():
    with pytest.raises(InvalidDataError, match=r"lengths \[4, 5\]"):
        Dataset("data", "numbers", ("a", "b"), Split((np.zeros(5), np.zeros(4)), LABELS), Split(np.zeros(5), LABELS))


def test_labels_without_classes_are_finite_numbers():
    part = Split(np.zeros((3, 1)), np.array([0.5, -1.0, 7.0]))
    assert Dataset("data", "numbers", (), part, part).class_names == ()
    odd = Split(np.zeros((3, 1)), np.array([0.5, np.nan, 7.0]))
    with pytest.raises(InvalidSettingError, match="test example 1 has the label nan; give a finite number"):
        Dataset("data", "numbers", (), part, odd)
    with pytest.raises(InvalidSettingError, match=r"example 1 and 1 more has the label -1\.0, but there are 2"):
        Dataset("data", "numbers", ("a", "b"), part, part)


def test_a_data_set_of_a_modality_that_is_not_known_is_refused():
    part = Split(np.zeros((3, 1)), np.zeros(3))
    with pytest.raises(InvalidSettingError, match="modality='sound'; it must be one of: image"):
        Dataset("data", "sound", (), part, part)


# --- new inputs -----------------------------------------------------------------------------------------------


def test_a_typed_row_is_read_or_refused_in_a_sentence():
    reader = find_modality("numbers").new_inputs(find_modality("numbers").encodings[0].learn(NUMBERS, "data"))
    new = reader.read({"numbers": "5.1; -0.1"})
    np.testing.assert_array_equal(new.contents, NUMBERS[:1])
    assert new.media == (Text("5.1, -0.1"),)
    with pytest.raises(EmptyDataError, match="no numbers yet"):
        reader.read({"numbers": " , "})
    for typed in ("1", "1, 2, 3", "1, nan", "one, two"):
        with pytest.raises(InvalidDataError, match=r"holds .* type 2 with commas|the model takes 2 finite ones"):
            reader.read({"numbers": typed})


def test_inputs_that_look_like_images_are_shown_as_images():
    (first, second) = seen_in(torch.rand(2, 3, 5, 4))
    assert isinstance(first[0], Picture) and first != second
    assert seen_in({"pixel_values": torch.zeros(2, 1, 5, 4, dtype=torch.uint8)}) is not None
    assert seen_in(torch.rand(2, 5)) is None and seen_in((torch.rand(2, 7, 5, 4),)) is None
