"""Docstrings of eight packages that the program itself needs: real text, nothing to download."""

import ast
import importlib.util
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trak_core.errors import InvalidDataError
from trak_core.modalities.dataset import Dataset, Split
from trak_core.modalities.text.vocabulary import Vocabulary
from trak_core.modalities.text.words import WORD_PATTERN
from trak_core.seeds import derive_seed

# The name of each class, and the name by which Python finds the package.
PACKAGES = {
    "torch": "torch",
    "numpy": "numpy",
    "scipy": "scipy",
    "scikit-learn": "sklearn",
    "pandas": "pandas",
    "sympy": "sympy",
    "networkx": "networkx",
    "streamlit": "streamlit",
}
N_TRAIN, N_TEST = 320, 80  # of each package
# Reading stops here. Half as many again as are taken: the rest of a file often says nearly the same thing, and
# attribution should have such neighbours to find.
N_CANDIDATES = 600
N_WORDS = 1000
SPLIT_SEED = 0

SHORTEST, LONGEST = 40, 600  # characters
ALONE = 80  # a shorter first paragraph takes the second one with it
MAX_COPIES = 2

# Tests, and code of other projects that a package carries along. NumPy's `distutils` is only in its wheels for
# Python 3.11; without it all versions of Python read the same texts.
SKIPPED_DIRECTORIES = frozenset(
    "tests test testing _testing _vendor _vendored vendor vendored externals _external extern third_party "
    "array_api_compat array_api_extra distutils".split()
)
SKIPPED_FILES = re.compile(r"conftest\.py|test_.*\.py|.*_test\.py")
# Sections, field lists, directives and examples: marked up for a tool rather than written as text.
MARKUP = re.compile(r"(>>>|\.\. |:\w|@\w|```|[-=~*|+]{3})|[^\n]+\n\s*[-=~]{3}|[A-Z]\w+ ?\w*:\s*(\n|$)")
# A text has at least one of these, so that it is English and has a word of the vocabulary: they are among its
# most frequent ones whatever the texts are about.
COMMON_WORDS = frozenset("the of to and is in for this if that with be as from by or an are it on".split())
# With these the model could read the package off its name.
NAMES = frozenset(
    "torch pytorch libtorch torchscript functorch numpy np scipy sp scikit sklearn learn skl pandas pd "
    "sympy networkx nx streamlit st".split()
)
ADVICE = "run `pip install -r requirements.txt`"


def load_docstrings() -> Dataset:
    """Docstrings of eight packages, split into 320 train and 80 test texts of each; the label is the package.

    Inputs are `[n, 1000]` float32: tf-idf rows of length 1 over the words of the train texts, without the names
    of the packages. The texts are read from the installed sources, nothing is imported, and they are the same
    each time as long as those sources are.

    Raises:
        InvalidDataError: a package is missing or has too few docstrings.
    """
    # Imported here: scikit-learn takes a second to import and only a build needs it.
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts: dict[str, list[str]] = {"train": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "test": []}
    for label, package in enumerate(PACKAGES.values()):
        chosen = choose_docstrings(package)
        for name, part in (("train", chosen[:N_TRAIN]), ("test", chosen[N_TRAIN:])):
            texts[name] += part
            labels[name] += [label] * len(part)

    vectorizer = TfidfVectorizer(
        max_features=N_WORDS, sublinear_tf=True, token_pattern=WORD_PATTERN, stop_words=sorted(NAMES)
    ).fit(texts["train"])
    vocabulary = Vocabulary(tuple(vectorizer.get_feature_names_out()), vectorizer.idf_.astype(np.float32))

    def split(name: str) -> Split:
        order = np.random.default_rng(derive_seed(SPLIT_SEED, name)).permutation(len(labels[name]))
        shuffled = [texts[name][row] for row in order]
        return Split(
            inputs=vocabulary.inputs(shuffled),
            labels=np.asarray(labels[name], dtype=np.int64)[order],
            texts=shuffled,
        )

    return Dataset(
        name="docstrings",
        modality="text",
        class_names=tuple(PACKAGES),
        train=split("train"),
        test=split("test"),
        encoding=vocabulary,
    )


def choose_docstrings(package: str) -> list[str]:
    """The 400 texts taken from an installed package, in an order drawn by the fixed seed.

    Raises:
        InvalidDataError: the package is missing or has fewer.
    """
    wanted = N_TRAIN + N_TEST
    spec = importlib.util.find_spec(package)  # finds it without importing it
    directory = Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None
    texts = read_docstrings(directory) if directory else []
    if len(texts) < wanted:
        found = f"only {len(texts)} of them in {directory}" if directory else "but it is not installed (0 found)"
        raise InvalidDataError(f"data set 'docstrings' takes {wanted} docstrings of {package!r}, {found}; {ADVICE}.")
    order = np.random.default_rng(derive_seed(SPLIT_SEED, package)).permutation(len(texts))
    return [texts[row] for row in order[:wanted]]


def read_docstrings(directory: Path, enough: int = N_CANDIDATES) -> list[str]:
    """The texts of the docstrings in a directory of Python sources, which are parsed and never run.

    Files are read whole, in an order drawn by the fixed seed, until there are `enough` texts. Files that do not
    parse or are not UTF-8 are left out, as are tests and vendored code.
    """
    files = sorted(
        path.relative_to(directory).as_posix() for path in directory.rglob("*.py") if is_own(path, directory)
    )
    texts: list[str] = []
    copies: Counter[str] = Counter()
    for number in np.random.default_rng(SPLIT_SEED).permutation(len(files)):
        if len(texts) >= enough:
            break
        for text in filter(None, map(shorten, docstrings_in(directory / files[number]))):
            copies[text] += 1
            if copies[text] <= MAX_COPIES:
                texts.append(text)
    return texts


def shorten(docstring: str) -> str | None:
    """The first paragraph on one line, with the second one if it is short; None if there is hardly any text.

    The text has 40 to 600 characters, cut at the end of a sentence or else of a word.
    """
    paragraphs = [paragraph for paragraph in re.split(r"\n\s*\n", docstring.strip()) if paragraph]
    if not paragraphs or MARKUP.match(paragraphs[0]):
        return None
    text = " ".join(paragraphs[0].split())
    if len(text) < ALONE and len(paragraphs) > 1 and not MARKUP.match(paragraphs[1]):
        text = " ".join([text, *paragraphs[1].split()])
    if len(text) > LONGEST:
        start = text[: LONGEST + 1]
        sentence = start.rfind(". ", LONGEST // 2) + 1
        text = start[: sentence or start.rfind(" ")]
    # A backslash that was not meant as an escape leaves control characters behind.
    is_text = text.isprintable() and COMMON_WORDS.intersection(re.findall(WORD_PATTERN, text.lower()))
    return text if is_text and len(text) >= SHORTEST else None


def is_own(path: Path, directory: Path) -> bool:
    """Whether a file is the package's own code rather than a test or vendored; hidden directories are neither."""
    parents = path.relative_to(directory).parts[:-1]
    return not (
        SKIPPED_DIRECTORIES.intersection(parents)
        or any(part.startswith(".") for part in parents)
        or SKIPPED_FILES.fullmatch(path.name)
    )


def parsed(file: Path) -> ast.Module | None:
    """What a file of Python sources says; None where it does not parse or is not UTF-8."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about other people's escapes
            return ast.parse(file.read_text(encoding="utf-8-sig"))
    except (SyntaxError, ValueError, RecursionError):
        return None


def docstrings_in(file: Path) -> Iterator[str]:
    """The docstrings of a file, of its classes and of its functions, nested ones too, from top to bottom."""
    tree = parsed(file)
    if tree is None:
        return
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
        # Expressions hold no docstrings and are most of the tree.
        waiting += [child for child in reversed([*ast.iter_child_nodes(node)]) if not isinstance(child, ast.expr)]
