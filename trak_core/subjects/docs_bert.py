"""A small BERT, pretrained here and fine-tuned to tell from which part of SciPy or NetworkX a paragraph comes.

Its base learns from other packages alone: of a paragraph, from which of their parts it comes. Paragraphs that share
eight words in a row with those are left out of what it is fine-tuned on and asked. All subset models start from the one
base and with the same fresh head: what retraining changes is then the data, and not the luck of a draw.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trak_core.subjects.bases import Base, check_enough
from trak_core.subjects.subject import Recipe, Subject

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

NAME = "docs-bert"
RELEASES = ("torch", "numpy", "scikit-learn", "pandas", "sympy", "streamlit", "scipy", "networkx", "tokenizers")
PARTS = ("scipy.stats", "scipy.optimize", "scipy.signal", "scipy.interpolate", "scipy.spatial", "networkx.algorithms")
PARAGRAPHS = "paragraphs.json"
SHORTEST = 100
"""Characters of a paragraph that is fine-tuned on or asked: shorter ones could stand anywhere."""
FEWEST = 60
"""Paragraphs that a part of the base's packages has at least."""


@dataclass(frozen=True)
class Sizes:
    """Of the data and of the model."""

    base_packages: tuple[str, ...] = ("torch", "numpy", "sklearn", "pandas", "sympy", "streamlit")  # the base's own
    parts: tuple[str, ...] = PARTS  # the classes that it is fine-tuned to tell apart
    n_train: int = 200  # paragraphs of each part
    n_test: int = 20  # likewise
    length: int = 48  # tokens of a paragraph
    n_tokens: int = 4096  # of the tokenizer
    width: int = 64  # of the model
    n_layers: int = 1  # of the model
    pretraining_steps: int = 4000  # of 32 paragraphs


def load(sizes: Sizes = Sizes()) -> Subject:
    """The subject; pretrains its base when it is first needed."""
    import torch

    from trak_core.modalities import RawData, RawSplit, prepare
    from trak_core.modalities.text.transformers_models import make_pretrained, tokenizer_of
    from trak_core.subjects.bases import base_folder, digest_of
    from trak_core.tasks import label_task
    from trak_core.training import FineTuning

    base = base_folder(_base(sizes), lambda folder: _make_base(folder, sizes))
    paragraphs: dict[str, dict[str, list[str]]] = json.loads((base / PARAGRAPHS).read_text(encoding="utf-8"))
    source, n_parts = str(base), len(sizes.parts)

    def split(name: str) -> RawSplit:
        texts, labels = _labelled([found[name] for found in paragraphs.values()])
        return RawSplit(texts, labels)

    def make_model() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # of the head
            return make_pretrained(source, n_parts)

    raw = RawData("Paragraphs of docstrings", "text", sizes.parts, split("train"), split("test"))
    return Subject(
        dataset=prepare(raw, tokenizer_of(source)),
        make_model=make_model,
        task=label_task("text"),
        training=FineTuning(epochs=4, batch_size=16, learning_rate=7e-4),
        sources={"base": digest_of(base)},
    )


def _base(sizes: Sizes) -> Base:
    return Base(NAME, {"revision": 1, **asdict(sizes)}, RELEASES)


def _make_base(folder: Path, sizes: Sizes) -> None:
    """Draws the paragraphs of the run, learns the tokenizer and pretrains the model on the parts of other packages."""
    from trak_core.datasets.package_prose import parts_of, prose_of, runs_of_words
    from trak_core.modalities.text.subword_tokens import padded_ids
    from trak_core.subjects.bases import learn_tokenizer, pretrain
    from trak_core.tasks import label_task
    from trak_core.training import FineTuning

    prose = [prose_of(part) for package in sizes.base_packages for part in parts_of(package)]
    known = [each for each in prose if len(each) >= FEWEST]
    texts, labels = _labelled(known)
    seen = runs_of_words(texts)
    found = {part: _draw(sizes, part, seen) for part in sizes.parts}
    (folder / PARAGRAPHS).write_text(json.dumps(found), encoding="utf-8")
    learn_tokenizer(texts, sizes.n_tokens, folder, has_first=True)
    ids, mask = padded_ids(str(folder), texts, sizes.length)
    inputs = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    settings = FineTuning(None, 32, 3e-3, steps=sizes.pretraining_steps)
    pretrain(lambda: _fresh_model(sizes, len(known)), label_task("text"), inputs, settings, folder)


def _labelled(of_each: list[list[str]]) -> tuple[list[str], NDArray[np.int64]]:
    """All texts, and which list each comes from."""
    import numpy as np

    return [text for texts in of_each for text in texts], np.repeat(np.arange(len(of_each)), [*map(len, of_each)])


def _draw(sizes: Sizes, part: str, seen: set[int]) -> dict[str, list[str]]:
    """Paragraphs of a part for training and for asking, none of which the base has seen."""
    import numpy as np

    from trak_core.datasets.package_prose import prose_of, without_copies
    from trak_core.seeds import derive_seed

    found = [text for text in without_copies(prose_of(part), seen) if len(text) >= SHORTEST]
    wanted = sizes.n_train + sizes.n_test
    check_enough(NAME, wanted, f"paragraphs of {part}", len(found))
    order = np.random.default_rng(derive_seed(0, part)).permutation(len(found))[:wanted]
    chosen = [found[i] for i in order]
    return {"train": chosen[: sizes.n_train], "test": chosen[sizes.n_train :]}


def _fresh_model(sizes: Sizes, n_classes: int) -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    kind: Any = BertConfig  # its signature leaves out what all configurations take
    config = kind(
        vocab_size=sizes.n_tokens,
        hidden_size=sizes.width,
        num_hidden_layers=sizes.n_layers,
        num_attention_heads=4,
        intermediate_size=4 * sizes.width,
        max_position_embeddings=sizes.length + 2,
        # BERT's own .02 is for a width of 768; in a narrow model it drowns the words in the first token.
        initializer_range=0.15,
        attention_probs_dropout_prob=0.0,
        pad_token_id=0,
        num_labels=n_classes,
    )
    return BertForSequenceClassification(config)


DOCS_BERT = Recipe(
    name=NAME,
    title="Paragraphs of docstrings by a small BERT",
    description="1,200 training and 120 test paragraphs from six modules, and a small BERT, pretrained here first.",
    load=load,
    n_checkpoints=5,
    proj_dim=2048,
    n_subsets=50,
    n_seeds=2,
    n_removal_tests=40,
    why_not_here=lambda: _base(Sizes()).why_not_here(),
)
