"""A small BERT, pretrained here and fine-tuned to tell from which of eight packages a docstring comes.

It learns to fill gaps in the prose of other packages first, and starts from there for every subset. Its head begins the
same in all models too: what retraining changes is then the data, and not the luck of a draw.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trak_core.subjects.subject import Recipe, Subject

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

NAME = "docs-bert"
RELEASES = ("transformers", "peft", "tokenizers")
MASKED = 0.15
"""Share of the tokens that are masked, as in Devlin et al. 2019 (arXiv 1810.04805)."""
MASK = 1
"""Id of what stands for a masked token; see `bases.learn_tokenizer`."""


@dataclass(frozen=True)
class Sizes:
    """Of the data and of the model."""

    base_packages: tuple[str, ...] = ("transformers", "peft")  # whose prose the base is pretrained on
    n_train: int = 160  # docstrings of each package
    n_test: int = 20  # likewise
    length: int = 64  # tokens of a text
    n_tokens: int = 2048  # of the tokenizer
    width: int = 64  # of the model
    n_layers: int = 2  # of the model
    pretraining_steps: int = 2000  # of 32 texts


def load(sizes: Sizes = Sizes()) -> Subject:
    """The subject; pretrains its base when it is first needed."""
    import numpy as np
    import torch

    from trak_core.datasets.docstrings import PACKAGES, choose_docstrings
    from trak_core.modalities import RawData, RawSplit, prepare
    from trak_core.modalities.text.transformers_models import make_pretrained, tokenizer_of
    from trak_core.seeds import derive_seed
    from trak_core.subjects.bases import base_folder, digest_of
    from trak_core.tasks import label_task
    from trak_core.training import FineTuning

    of_base = {name: value for name, value in asdict(sizes).items() if name not in ("n_train", "n_test")}
    base = base_folder(NAME, {"revision": 1, **of_base}, RELEASES, lambda folder: _make_base(folder, sizes))
    chosen = [choose_docstrings(package)[: sizes.n_train + sizes.n_test] for package in PACKAGES.values()]

    def split(name: str, rows: slice) -> RawSplit:
        texts = [text for of_package in chosen for text in of_package[rows]]
        labels = np.repeat(np.arange(len(PACKAGES)), len(texts) // len(PACKAGES))
        order = np.random.default_rng(derive_seed(0, name)).permutation(len(texts))
        return RawSplit([texts[i] for i in order], labels[order])

    train, test = split("train", slice(sizes.n_train)), split("test", slice(sizes.n_train, None))
    raw = RawData("Docstrings of eight packages", "text", tuple(PACKAGES), train, test)
    source = str(base)

    def make_model() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return make_pretrained(source, len(PACKAGES))

    return Subject(
        dataset=prepare(raw, tokenizer_of(source)),
        make_model=make_model,
        task=label_task("text"),
        training=FineTuning(epochs=6, batch_size=16, learning_rate=1e-3),
        sources={"base": digest_of(base)},
    )


def _make_base(folder: Path, sizes: Sizes) -> None:
    """Learns the tokenizer and pretrains the model on texts that hold nothing of what it will be asked about."""
    from trak_core.datasets.docstrings import PACKAGES, choose_docstrings
    from trak_core.datasets.package_prose import prose_of, runs_of_words, without_copies
    from trak_core.datasets.passages import cut_into_passages
    from trak_core.modalities.passage.passage_tokens import PassageTokens
    from trak_core.subjects.bases import learn_tokenizer, pretrain
    from trak_core.tasks import MaskedLM
    from trak_core.training import FineTuning

    asked = runs_of_words([text for package in PACKAGES.values() for text in choose_docstrings(package)])
    prose = [text for package in sizes.base_packages for text in prose_of(package)]
    known = without_copies(prose, asked)
    learn_tokenizer(known, sizes.n_tokens, folder)
    texts = cut_into_passages("\n".join(known), str(folder), sizes.length)
    inputs = _with_gaps(PassageTokens(str(folder), sizes.length).inputs(texts))
    settings = FineTuning(None, 32, 2e-3, steps=sizes.pretraining_steps)
    pretrain(lambda: _fresh_model(sizes), MaskedLM(), inputs, settings, folder)


def _with_gaps(inputs: dict[str, NDArray[np.int64]]) -> dict[str, NDArray[Any]]:
    """Some tokens of each text masked, and labels at these alone."""
    import numpy as np

    from trak_core.modalities.passage.passage_tokens import IGNORED

    ids, real = inputs["input_ids"], inputs["attention_mask"] > 0
    hidden = (np.random.default_rng(0).random(ids.shape) < MASKED) & real
    hidden[:, 0] |= ~hidden.any(axis=1)  # each text has a gap
    labels = np.where(hidden, ids, IGNORED)
    return {"input_ids": np.where(hidden, MASK, ids), "attention_mask": inputs["attention_mask"], "labels": labels}


def _fresh_model(sizes: Sizes) -> nn.Module:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=sizes.n_tokens,
        hidden_size=sizes.width,
        num_hidden_layers=sizes.n_layers,
        num_attention_heads=4,
        intermediate_size=4 * sizes.width,
        max_position_embeddings=sizes.length + 2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=0,
    )
    return BertForMaskedLM(config)


DOCS_BERT = Recipe(
    name=NAME,
    title="Docstrings by a small BERT",
    description="1,280 training and 160 test texts from eight packages, and a small BERT, pretrained here first.",
    load=load,
    n_checkpoints=5,
    proj_dim=2048,
    n_subsets=50,
    n_seeds=2,
    n_removal_tests=40,
)
