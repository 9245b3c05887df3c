"""A small GPT-2, pretrained here on docstrings and fine-tuned on passages of other modules: who taught it to say that?

Both texts come from installed packages. The base is pretrained on the prose of six of them, and fine-tuned on parts of
SciPy and NetworkX; passages that share eight words in a row with the pretraining text are left out, because a model
that has seen a passage before loses nothing when it is removed. All subset models start from the one base, as people
fine-tune: retrained evidence then has a high ceiling.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trak_core.subjects.bases import Base, check_enough
from trak_core.subjects.subject import Recipe, Subject

if TYPE_CHECKING:
    from torch import nn

NAME = "docs-lm"
BASE_PACKAGES = ("torch", "numpy", "sklearn", "pandas", "sympy", "streamlit")
RELEASES = ("torch", "numpy", "scikit-learn", "pandas", "sympy", "streamlit", "scipy", "networkx", "tokenizers")
DOCUMENTS = (
    *(f"scipy.{part}" for part in ("stats", "optimize", "signal", "sparse", "linalg", "interpolate", "integrate")),
    *(f"scipy.{part}" for part in ("spatial", "special", "ndimage", "cluster", "fft")),
    *(f"networkx.{part}" for part in ("generators", "classes", "drawing", "readwrite")),
)
PASSAGES = "passages.json"
LEAST_TOKENS = 40


@dataclass(frozen=True)
class Sizes:
    """Of the data and of the model."""

    base_packages: tuple[str, ...] = BASE_PACKAGES  # whose prose the base is pretrained on
    documents: tuple[str, ...] = DOCUMENTS  # parts of packages that it is fine-tuned on
    n_train: int = 40  # passages of each document
    n_test: int = 6  # likewise
    length: int = 64  # tokens of a passage
    n_tokens: int = 1024  # of the tokenizer
    width: int = 64  # of the model
    n_layers: int = 2  # of the model
    pretraining_steps: int = 1200  # of 32 passages


def load(sizes: Sizes = Sizes()) -> Subject:
    """The subject; pretrains its base when it is first needed."""
    import numpy as np

    from trak_core.modalities import RawData, RawSplit, prepare
    from trak_core.modalities.passage.passage_tokens import PassageTokenizer
    from trak_core.subjects.bases import base_folder, digest_of, saved_model
    from trak_core.tasks import CausalLM
    from trak_core.training import FineTuning

    base = base_folder(_base(sizes), lambda folder: _make_base(folder, sizes))
    passages: dict[str, dict[str, list[str]]] = json.loads((base / PASSAGES).read_text(encoding="utf-8"))

    def split(name: str) -> RawSplit:
        of_all = [(text, document) for document, found in passages.items() for text in found[name]]
        texts, documents = zip(*of_all, strict=True)
        return RawSplit(list(texts), np.zeros(len(texts)), list(documents))

    raw = RawData("Docstrings as passages", "passage", (), split("train"), split("test"))
    return Subject(
        dataset=prepare(raw, PassageTokenizer(str(base), sizes.length)),
        make_model=lambda: copy.deepcopy(saved_model("GPT2LMHeadModel", base)),
        task=CausalLM(),
        training=FineTuning(epochs=4, batch_size=16, learning_rate=5e-4),
        sources={"base": digest_of(base)},
    )


def _base(sizes: Sizes) -> Base:
    return Base(NAME, {"revision": 1, **asdict(sizes)}, RELEASES)


def _make_base(folder: Path, sizes: Sizes) -> None:
    """Learns the tokenizer, pretrains the model and cuts the passages."""
    from trak_core.datasets.package_prose import prose_of, runs_of_words
    from trak_core.datasets.passages import cut_into_passages
    from trak_core.modalities.passage.passage_tokens import PassageTokens
    from trak_core.subjects.bases import learn_tokenizer, pretrain
    from trak_core.tasks import CausalLM
    from trak_core.training import FineTuning

    known = [paragraph for package in sizes.base_packages for paragraph in prose_of(package)]
    learn_tokenizer(known, sizes.n_tokens, folder)
    passages = _documents(sizes, str(folder), runs_of_words(known))
    (folder / PASSAGES).write_text(json.dumps(passages), encoding="utf-8")
    texts = cut_into_passages("\n".join(known), str(folder), sizes.length)
    inputs = PassageTokens(str(folder), sizes.length).inputs(texts)
    settings = FineTuning(None, 32, 3e-3, steps=sizes.pretraining_steps)
    pretrain(lambda: _fresh_model(sizes), CausalLM(), inputs, settings, folder)


def _documents(sizes: Sizes, tokenizer: str, known: set[int]) -> dict[str, dict[str, list[str]]]:
    """Passages of each document for training and for asking, none of which the base has seen."""
    import numpy as np

    from trak_core.datasets.package_prose import prose_of, without_copies
    from trak_core.datasets.passages import cut_into_passages
    from trak_core.seeds import derive_seed

    found: dict[str, dict[str, list[str]]] = {}
    wanted = sizes.n_train + sizes.n_test
    for document in sizes.documents:
        text = "\n".join(without_copies(prose_of(document), known))
        passages = cut_into_passages(text, tokenizer, sizes.length, LEAST_TOKENS)
        check_enough(NAME, wanted, f"passages of {document}", len(passages))
        order = np.random.default_rng(derive_seed(0, document)).permutation(len(passages))[:wanted]
        # In the order of the text, so that neighbours stay neighbours.
        train, test = sorted(order[: sizes.n_train].tolist()), sorted(order[sizes.n_train :].tolist())
        found[document] = {"train": [passages[i] for i in train], "test": [passages[i] for i in test]}
    return found


def _fresh_model(sizes: Sizes) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=sizes.n_tokens,
        n_positions=sizes.length,
        n_embd=sizes.width,
        n_layer=sizes.n_layers,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=2,
        eos_token_id=2,
        pad_token_id=0,
        use_cache=False,
    )
    return GPT2LMHeadModel(config)


DOCS_LM = Recipe(
    name=NAME,
    title="Passages of docstrings",
    description="640 training and 96 test passages from 16 modules, and a small GPT-2 that is pretrained here first.",
    load=load,
    n_checkpoints=5,
    proj_dim=2048,
    n_subsets=50,
    n_seeds=2,
    n_removal_tests=40,
    why_not_here=lambda: _base(Sizes()).why_not_here(),
)
