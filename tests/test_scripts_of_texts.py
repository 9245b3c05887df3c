# ruff: noqa: RUF001 - letters of other scripts are what this is about
"""Words in any script: what counts as one, what stays together, and that models learn from them."""

import json
import os
import random
import subprocess
import sys
import unicodedata
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from trak_core.datasets.table import read_table
from trak_core.errors import EmptyDataError, NeedNotMetError
from trak_core.modalities import find_modality, prepare, read_encoding
from trak_core.modalities.text.new_text import NewTexts
from trak_core.modalities.text.vocabulary import Vocabulary
from trak_core.modalities.text.word_ids import WordIds
from trak_core.modalities.text.words import LETTERS, UnicodeWords, read_words
from trak_core.subjects import find_model
from trak_core.subjects.custom_data import custom_subject
from trak_core.training import VmapTrainer, choose_steps
from trak_core.views.explanation import Explanation

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"
WORDS = UnicodeWords()

# --- words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("यह किताब बहुत अच्छी थी", ["यह", "किताब", "बहुत", "अच्छी", "थी"]),
        ("தமிழ் படம் நன்று", ["தமிழ்", "படம்", "நன்று"]),
        ("كِتَابٌ جَمِيلٌ", ["كِتَابٌ", "جَمِيلٌ"]),
        ("שָׁלוֹם עולם", ["שָׁלוֹם", "עולם"]),
        ("한국어 영화가 좋다", ["한국어", "영화가", "좋다"]),
        ("Zoe\u0308 ZOË", ["zoë", "zoë"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
    ],
)
def test_marks_and_joiners_stay_with_their_letters(text, words):
    assert WORDS.of(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("800 856 room101 4K", ["800", "856", "room101", "4k"]),
        ("3.14, 1,000 and 5. ", ["3.14", "1,000", "and", "5"]),
        ("Don’t don't 'quoted' dogs'", ["don't", "don't", "quoted", "dogs"]),
        ("n_components; e-mail #MeToo @me", ["n", "components", "e", "mail", "metoo", "me"]),
        ("... !? -- ::", []),
        ("ＡＢＣ １２", ["abc", "12"]),
    ],
)
def test_digits_are_words_and_apostrophes_inside_words_part_nothing(text, words):
    assert WORDS.of(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("😡💩💩", ["😡", "💩", "💩"]),
        ("👍🏽👍🏿", ["👍🏽", "👍🏿"]),
        ("👨‍👩‍👧👩🏾‍🚀", ["👨‍👩‍👧", "👩🏾‍🚀"]),
        ("🇩🇪🇫🇷", ["🇩🇪", "🇫🇷"]),
        ("❤️❤", ["❤", "❤"]),
        ("so good😍!", ["so", "good", "😍"]),
    ],
)
def test_an_emoji_is_a_word_with_all_that_it_is_joined_to(text, words):
    assert WORDS.of(text) == words


def test_each_word_lies_where_it_is_said_to_lie():
    texts = ["Zo\u0308e’s 👍🏽 1,000 किताब, 今天iPhone15很好。ภาษาไทย x", "a\ud800b", "ｶﾞｷﾞ コーヒー", "日本語" * 20]
    rule = UnicodeWords.learn(texts)
    for text in texts:
        places = rule.places(text)
        assert all(start < end for start, end, _ in places)
        assert all(before[1] <= after[0] for before, after in pairwise(places))
        for start, end, word in places:
            given = unicodedata.normalize("NFKC", text[start:end]).casefold().replace("’", "'")
            assert given == word


# --- pieces -------------------------------------------------------------------------------------------------------

SUBJECTS = {
    "chinese": ["电影", "音乐", "画面", "导演", "故事", "演员"],
    "japanese": ["映画は", "ドラマは", "音楽が", "ストーリーは", "この店は", "サービスが"],
    "thai": ["หนังเรื่องนี้", "อาหารร้านนี้", "เพลงนี้", "โรงแรมนี้", "พนักงาน", "ราคา"],
    "lao": ["ຮູບເງົານີ້", "ອາຫານນີ້", "ເພງນີ້", "ໂຮງແຮມນີ້"],
    "khmer": ["ភាពយន្តនេះ", "អាហារនេះ", "ចម្រៀងនេះ", "សណ្ឋាគារនេះ"],
    "mixed": ["这个app", "iPhone的screen", "新version", "客服service", "UI设计"],
    "korean": ["영화가 ", "음악이 ", "이 식당은 ", "서비스가 "],
    "tamil": ["இந்த படம் ", "இசை ", "இந்த உணவு ", "கதை "],
    "arabic": ["الفِيلْمُ ", "المُوسِيقَى ", "الطَّعَامُ ", "القِصَّةُ "],
    "emoji": ["🎬", "🎵", "#film ", "👨‍👩‍👧", "🍜"],
    "codes": ["11 ", "24 ", "37 ", "58 "],
    "sequences": ["ACGTTGCA", "GGATCCTA", "TTAGGCAT", "CCATAGTC"],
}
GOOD_AND_BAD = {
    "chinese": (["非常好看", "真精彩", "很感人", "太有趣"], ["非常难看", "真无聊", "很糟糕", "太讨厌"]),
    "japanese": (["とても面白い", "最高だった", "素晴らしい"], ["とてもつまらない", "最悪だった", "ひどい"]),
    "thai": (["สนุกมาก", "อร่อยดี", "ยอดเยี่ยม"], ["น่าเบื่อมาก", "ไม่อร่อย", "แย่จริง"]),
    "lao": (["ມ່ວນຫຼາຍ", "ແຊບຫຼາຍ", "ດີເລີດ"], ["ໜ້າເບື່ອ", "ບໍ່ແຊບ", "ຂີ້ຮ້າຍ"]),
    "khmer": (["ល្អណាស់", "ឆ្ងាញ់ណាស់", "អស្ចារ្យ"], ["អាក្រក់ណាស់", "គួរឱ្យធុញ", "មិនល្អ"]),
    "mixed": (["很cool", "非常好用", "太nice了"], ["很slow", "非常难用", "太bad了"]),
    "korean": (["정말 좋다", "훌륭하다", "재미있다"], ["정말 나쁘다", "끔찍하다", "지루하다"]),
    "tamil": (["மிகவும் நன்று", "அருமை", "சிறப்பு"], ["மிகவும் மோசம்", "கொடுமை", "சலிப்பு"]),
    "arabic": (["جَمِيلٌ جِدًّا", "رَائِعٌ", "مُمْتَازٌ"], ["سَيِّئٌ جِدًّا", "مُمِلٌّ", "فَظِيعٌ"]),
    "emoji": (["😍🎉", "👍🏽👍🏽", "❤️"], ["😡💩", "👎🏿👎🏿", "💔"]),
    "codes": (["801 ", "802 ", "803 "], ["101 ", "102 ", "103 "]),
    "sequences": (["AAAATTTTGG", "TATATATACC"], ["GCGCGCGCAA", "CCCCGGGGTA"]),
}


def reviews(language: str, n: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Two or three sentences in each, which agree on what they say, without blanks where the language has none."""
    generator = random.Random(seed)
    labels = [number % 2 for number in range(n)]
    texts = [
        "".join(
            generator.choice(SUBJECTS[language]) + generator.choice(GOOD_AND_BAD[language][label])
            for _ in range(generator.randint(2, 3))
        )
        for label in labels
    ]
    return texts, np.array(labels)


@pytest.mark.parametrize("language", SUBJECTS)
def test_the_usual_model_learns_from_few_texts_in_any_script(tmp_path, language):
    """300 rows from a table to a model; what it says of texts that it has not seen."""
    texts, labels = reviews(language, 300, 0)
    rows = zip(texts, labels, ["train"] * 240 + ["test"] * 60, strict=True)
    table = tmp_path / "texts.jsonl"
    table.write_text("\n".join(json.dumps({"text": t, "label": f"l{y}", "split": s}) for t, y, s in rows))
    raw = read_table(table, "text", "label", split="split")
    assert accuracy(raw) >= 0.95


def accuracy(raw) -> float:
    """Of the usual model with steps that are chosen, the mean of two, on the test split."""
    modality = find_modality("text")
    model = find_model(modality.usual_model(raw.train.contents), "text")
    dataset = prepare(raw, model.takes)
    subject = custom_subject(dataset, model)
    trainer = subject.trainer("cpu")
    assert isinstance(trainer, VmapTrainer)
    trainer = replace(trainer, settings=choose_steps(trainer, 0, most_steps=200).settings)
    models = trainer.train_subsets(np.ones((2, len(dataset.train)), dtype=bool), [1, 2])
    outputs = models.outputs(subject.task, torch.from_numpy(dataset.test.inputs))
    return float(models.right(subject.task, outputs, torch.from_numpy(dataset.test.labels)).mean())


@pytest.mark.parametrize("name", ["chinese", "hindi", "codes", "emoji-text"])
def test_the_texts_of_the_field_have_words_and_reviews_are_learnt(name):
    if not (CASES / name).exists():
        pytest.skip(f"the shared case {name} is missing ({CASES})")
    file = next((CASES / name).iterdir())
    raw = read_table(file, "text", "label")
    encoding = Vocabulary.learn(raw.train.contents, name)
    assert encoding.inputs(raw.train.contents).any(1).all() and encoding.inputs(raw.test.contents).any(1).mean() > 0.9
    if name in ("chinese", "hindi"):
        assert accuracy(raw) >= 0.95


def test_pieces_are_learnt_where_there_are_no_blanks_and_only_there():
    learnt = {language: UnicodeWords.learn(reviews(language, 100, 0)[0]).merges for language in SUBJECTS}
    assert {language for language, merges in learnt.items() if merges} == {
        *("chinese", "japanese", "thai", "lao", "khmer", "mixed", "sequences")
    }


@pytest.mark.parametrize("language", ["chinese", "thai", "khmer", "mixed"])
def test_pieces_are_joined_as_byte_pair_encoding_by_hand_joins_them(language):
    """Over and over the commonest neighbours are joined, here by counting them all anew."""
    texts, _ = reviews(language, 60, 0)
    rule = UnicodeWords.learn(texts)
    longest = 4 if language in ("thai", "khmer") else 2
    single = UnicodeWords()
    # Runs as lists of characters; words of scripts with blanks are no runs.
    runs = []
    for text in texts:
        last = None
        for start, end, character in single.places(text):
            if character.isascii():
                last = None
                continue
            if last != start:
                runs.append([])
            runs[-1].append(character)
            last = end
    assert rule.merges
    sizes = {character: 1 for run in runs for character in run}
    for left, right in rule.merges:
        counts = Counter(pair for run in runs for pair in pairwise(run))
        allowed = {pair: n for pair, n in counts.items() if sizes[pair[0]] + sizes[pair[1]] <= longest}
        assert allowed[left, right] == max(allowed.values())
        sizes[left + right] = sizes[left] + sizes[right]
        for run in runs:
            place = 0
            while place < len(run) - 1:
                if (run[place], run[place + 1]) == (left, right):
                    run[place : place + 2] = [left + right]
                place += 1


def test_pieces_are_the_same_in_another_process_and_on_any_number_of_threads():
    texts, _ = reviews("thai", 200, 3)
    here = UnicodeWords.learn(texts).metadata()
    script = (
        "import json, sys; from trak_core.modalities.text.words import UnicodeWords; "
        "print(json.dumps(UnicodeWords.learn(json.load(sys.stdin)).metadata()))"
    )
    for threads in ("1", "4"):
        environment = {**os.environ, "RAYON_NUM_THREADS": threads}
        told = subprocess.run(
            [sys.executable, "-c", script],
            input=json.dumps(texts),
            text=True,
            capture_output=True,
            env=environment,
            check=True,
            cwd=Path(__file__).resolve().parents[1],
        )
        assert json.loads(told.stdout) == here


def test_new_letters_are_pieces_of_their_own_and_unknown():
    encoding = Vocabulary.learn(reviews("chinese", 100, 0)[0], "data")
    assert encoding.rule.of("饕餮") == ["饕", "餮"]
    assert encoding.known_share(["饕餮", "非常好看"]).tolist() == [0, 1]


# --- what runs keep -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Vocabulary, WordIds])
@pytest.mark.parametrize("language", ["chinese", "thai", "emoji", "codes"])
def test_an_encoding_read_back_from_a_run_gives_the_same_inputs(kind, language):
    texts, _ = reviews(language, 80, 0)
    encoding = kind.learn(texts, "data")
    kept = json.loads(json.dumps({"kind": encoding.kind, **encoding.metadata()}))
    again = read_encoding(kept)
    others = reviews(language, 20, 5)[0]
    assert np.array_equal(again.inputs([*texts, *others]), encoding.inputs([*texts, *others]))
    assert np.array_equal(again.known_share(others), encoding.known_share(others))


def test_encodings_of_older_runs_keep_their_words_of_two_letters_or_more():
    vocabulary = read_encoding({"kind": "vocabulary", "words": ["don", "leaf"], "idf": [1.0, 2.0]})
    ids = read_encoding({"kind": "word_ids", "words": ["don", "leaf"], "length": 4})
    text = "Don't a leaf2 n_leaf 7"
    assert vocabulary.rule.of(text) == ids.rule.of(text) == ["don", "leaf", "leaf"]
    assert ids.inputs([text]).tolist() == [[2, 3, 3, 0]]
    assert vocabulary.inputs([text])[0] == pytest.approx(
        np.array([1, 2 * (1 + np.log(2))]) / np.hypot(1, 2 + 2 * np.log(2))
    )
    # A recipe's is kept as it ever was, so that its fingerprint stays.
    assert set(vocabulary.metadata()) == {"words", "idf"} and set(ids.metadata()) == {"words", "length"}


def test_a_rule_of_a_newer_program_is_refused_by_name():
    with pytest.raises(NeedNotMetError, match="the rule 'syllables', which this version does not know"):
        read_words({"rule": "syllables"})
    assert read_words(LETTERS.metadata()) == LETTERS


@pytest.mark.parametrize("kind", [Vocabulary, WordIds])
@pytest.mark.parametrize("texts", [["...", "?!"], ["", " "], ["-- ::", "( )"]])
def test_texts_without_any_word_are_refused(kind, texts):
    with pytest.raises(EmptyDataError, match="none of the 2 train texts has a word, a number or an emoji"):
        kind.learn(texts, "table")


# --- people -------------------------------------------------------------------------------------------------------


def test_a_new_text_is_read_by_the_rule_of_its_run():
    encoding = Vocabulary.learn(reviews("chinese", 100, 0)[0], "data")
    said = NewTexts(encoding).read({"text": "导演非常好看"}).steps[-1]
    assert said == "The model knows 3 of its 3 words, whatever their order: 导演, 非常, 好看."


def test_words_are_marked_by_the_rule_of_their_run():
    encoding = Vocabulary.learn(reviews("chinese", 100, 0)[0], "data")
    explanation = Explanation.__new__(Explanation)
    object.__setattr__(explanation, "words", ("好看", "真"))
    object.__setattr__(explanation, "words_in", encoding.words_in)
    assert explanation.parts("音乐真好看") == ["音乐", "真", "", "好看", ""]
    assert explanation.parts("👍 <b>") == ["👍 <b>"]
