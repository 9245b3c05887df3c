"""The data set of docstrings: which texts it takes from sources, how it encodes them, and what it refuses."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trak_core.datasets import docstrings, load_docstrings
from trak_core.datasets.docstrings import N_TEST, N_TRAIN, PACKAGES, choose_docstrings, read_docstrings, shorten
from trak_core.errors import InvalidDataError, ShapeMismatchError
from trak_core.modalities import Dataset, Split
from trak_core.modalities.text.vocabulary import Vocabulary
from trak_core.modalities.text.words import WORD_PATTERN

ROOT = Path(__file__).parents[1]

MODULE = '''
"""The module as a whole, described at some length."""

class Outer:
    """A class that is there to be read by the test."""

    async def method(self):
        """A method of the class, with its own few words."""
        if self:
            def nested():
                """A function inside of a branch of the method."""

    def short(self):
        """Too short to take."""

def twice():
    """The same words in this module for all three."""

def thrice():
    """The same words in this module for all three."""

def once_too_often():
    """The same words in this module for all three."""

value = 1
"""A string below a value, which is not a docstring of it."""
'''
TEXTS = [
    "The module as a whole, described at some length.",
    "A class that is there to be read by the test.",
    "A method of the class, with its own few words.",
    "A function inside of a branch of the method.",
    "The same words in this module for all three.",
    "The same words in this module for all three.",
]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_docstrings()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    directory = tmp_path / "invented"
    directory.mkdir()
    (directory / "__init__.py").write_text(MODULE)
    return directory


def splits(dataset: Dataset) -> list[tuple[Split, int]]:
    return [(dataset.train, N_TRAIN), (dataset.test, N_TEST)]


def test_every_package_gives_the_same_number_of_examples_to_each_split(dataset: Dataset):
    assert (len(dataset.train), len(dataset.test)) == (2560, 640)
    for split, of_each in splits(dataset):
        assert np.bincount(split.labels).tolist() == [of_each] * len(dataset.class_names) == [of_each] * 8
        assert len(split.texts) == len(split)


def test_classes_are_mixed_in_both_splits(dataset: Dataset):
    """In the first eighth of a split that is sorted by package there would be one package."""
    for split, of_each in splits(dataset):
        assert set(split.labels[:of_each]) == set(range(8))


def test_texts_are_one_line_of_40_to_600_characters(dataset: Dataset):
    for split, _ in splits(dataset):
        assert all(40 <= len(text) <= 600 and text == " ".join(text.split()) for text in split.texts)


def test_every_row_is_of_length_one(dataset: Dataset):
    for split, _ in splits(dataset):
        assert split.inputs.shape == (len(split), 1000) and split.inputs.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(split.inputs, axis=1), 1, atol=1e-6)


def test_no_word_names_a_package(dataset: Dataset):
    assert not [word for word in dataset.encoding.words if any(name in word for name in PACKAGES.values())]
    assert not {"np", "pd", "nx", "st", "scikit"}.intersection(dataset.encoding.words)


def test_the_label_can_be_learned_from_the_words(dataset: Dataset):
    """The nearest mean of a class is right for more than half of the test texts; chance is one in eight."""
    means = np.stack([dataset.train.inputs[dataset.train.labels == label].mean(0) for label in range(8)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert np.mean((dataset.test.inputs @ means.T).argmax(1) == dataset.test.labels) > 0.5


@pytest.mark.slow
def test_loading_again_gives_the_same_whatever_order_the_disk_lists_files_in(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
):
    rglob = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda path, pattern: reversed([*rglob(path, pattern)]))
    again = load_docstrings()
    assert again.fingerprint() == dataset.fingerprint()
    assert (again.train.texts, again.test.texts) == (dataset.train.texts, dataset.test.texts)


def test_rows_agree_with_scikit_learn(dataset: Dataset):
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(vocabulary=dataset.encoding.words, sublinear_tf=True, token_pattern=WORD_PATTERN)
    for split, rows in (
        (dataset.train, vectorizer.fit_transform(dataset.train.texts)),
        (dataset.test, vectorizer.transform(dataset.test.texts)),
    ):
        np.testing.assert_allclose(split.inputs, rows.toarray(), atol=1e-6)


def test_words_are_weighed_as_defined():
    """Weights are 2 (1 + log 2) for "tree", which occurs twice, and 3 for "leaf"."""
    weights = np.array([2 * (1 + np.log(2)), 3])
    rows = Vocabulary(("tree", "leaf"), np.array([2.0, 3.0])).inputs(["Tree, n_tree or leaf2", "a stone"])
    np.testing.assert_allclose(rows, [weights / np.linalg.norm(weights), [0, 0]], rtol=1e-6)


def test_idf_must_be_given_for_each_word():
    with pytest.raises(ShapeMismatchError, match=r"2 words, but idf has shape \(3,\)"):
        Vocabulary(("tree", "leaf"), np.ones(3)).inputs(["a tree"])


def test_docstrings_of_all_kinds_are_read_and_two_copies_kept(package: Path):
    assert read_docstrings(package) == TEXTS


def test_files_that_cannot_be_read_are_left_out(package: Path):
    (package / "broken.py").write_text('"""The file of this docstring does not parse at all."""\ndef (')
    (package / "nul.py").write_bytes(b'"""The file of this docstring holds a NUL \0 character."""')
    latin = '# coding: latin-1\n"""The file of this docstring is not in UTF-8, as the é shows."""'
    (package / "latin.py").write_bytes(latin.encode("latin-1"))
    assert read_docstrings(package) == TEXTS


@pytest.mark.parametrize(
    "path",
    ["tests/helper.py", "sub/_vendor/other.py", "externals/other.py", ".hidden/a.py", "test_a.py", "conftest.py"],
)
def test_tests_and_vendored_files_are_left_out(package: Path, path: str):
    (package / path).parent.mkdir(parents=True, exist_ok=True)
    (package / path).write_text('"""A docstring that is not of the package itself."""')
    assert read_docstrings(package) == TEXTS


def test_reading_stops_at_the_end_of_the_file_that_completes_the_number(package: Path):
    for number in range(9):
        (package / f"more_{number}.py").write_text(MODULE.replace("same words", f"same {'x' * number} words"))
    assert len(read_docstrings(package, enough=4)) == len(TEXTS)


@pytest.mark.parametrize(
    ("docstring", "text"),
    [
        ("A first one\n   that is short.\n\nThe second one.\n\nThird.", "A first one that is short. The second one."),
        (f"The first{' long' * 20}.\n\nThe second one.", f"The first{' long' * 20}."),
        ("The first paragraph, before a section.\n\nArgs:\n    x: a number", None),
        ("A first paragraph, followed by a section.\n\nArgs:\n    x: a", "A first paragraph, followed by a section."),
        ("A first paragraph, followed by a section.\n\nNotes\n---\nx", "A first paragraph, followed by a section."),
        ("Parameters\n----------\nx : the first of the two numbers to add", None),
        (">>> add(1, 2)  # is the number that comes of it", None),
        ("Lorem ipsum dolor sit amet, consectetur adipiscing elit.", None),
        ("The letter \x08eta was meant, but without a raw string.", None),
        ("", None),
        ("The" + " word" * 65 + ". And" + " more" * 100, "The" + " word" * 65 + "."),
        ("The" + " word" * 200, "The" + " word" * 119),
    ],
)
def test_first_paragraphs_are_taken_and_cut(docstring: str, text: str | None):
    assert shorten(docstring) == text


@pytest.mark.slow
def test_reading_imports_none_of_the_packages():
    """Of those that importing the reader does not bring along by itself."""
    code = """
import sys
from trak_core.datasets.docstrings import PACKAGES, choose_docstrings
before = set(sys.modules)
for package in ("networkx", "sympy", "streamlit", "sklearn"):
    assert len(choose_docstrings(package)) == 400
    assert package not in sys.modules, package
new = {name.partition(".")[0] for name in set(sys.modules) - before}
assert not new.intersection(PACKAGES.values()), new
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_missing_package_is_named_with_advice(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(docstrings, "PACKAGES", {"Not There": "not_there_at_all"})
    with pytest.raises(InvalidDataError, match=r"'not_there_at_all'.*0 found.*pip install -r requirements.txt"):
        load_docstrings()


def test_package_with_too_few_docstrings_is_named_with_their_number(package: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(package.parent)
    with pytest.raises(InvalidDataError, match=r"400 docstrings of 'invented', only 6 .*pip install -r"):
        choose_docstrings("invented")
