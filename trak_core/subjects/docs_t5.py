"""A small T5, pretrained here and fine-tuned to name a function by the first sentence of its docstring.

Pairs come from the sources of installed packages: what a function does, in a sentence, and its name as words. The base
is trained on the pairs of some packages, and fine-tuned on those of others whose sentence is in none of the first.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trak_core.subjects.bases import Base, check_enough
from trak_core.subjects.subject import Recipe, Subject

if TYPE_CHECKING:
    from torch import nn

NAME = "docs-t5"
PAIRS = "pairs.json"
RELEASES = ("torch", "scikit-learn", "sympy", "transformers", "pandas", "scipy", "numpy", "networkx", "tokenizers")


@dataclass(frozen=True)
class Sizes:
    """Of the data and of the model."""

    base_packages: tuple[str, ...] = ("torch", "sklearn", "sympy", "transformers", "pandas")  # of the base's pairs
    packages: tuple[str, ...] = ("scipy", "numpy", "networkx")  # whose pairs it is fine-tuned on
    n_train: int = 640  # pairs
    n_test: int = 96  # likewise
    length: int = 40  # tokens of a sentence
    target_length: int = 10  # tokens of a name
    n_tokens: int = 1024  # of the tokenizer
    width: int = 64  # of the model
    n_layers: int = 2  # of the encoder, and of the decoder
    pretraining_steps: int = 1500  # of 32 pairs


def load(sizes: Sizes = Sizes()) -> Subject:
    """The subject; pretrains its base when it is first needed."""
    import numpy as np

    from trak_core.modalities import RawData, RawSplit, prepare
    from trak_core.modalities.text_pair.pair_tokens import PairTokenizer, SourceTarget
    from trak_core.subjects.bases import base_folder, digest_of, saved_model
    from trak_core.tasks import Seq2Seq
    from trak_core.training import FineTuning

    base = base_folder(_base(sizes), lambda folder: _make_base(folder, sizes))
    pairs: dict[str, list[tuple[str, str, str]]] = json.loads((base / PAIRS).read_text(encoding="utf-8"))

    def split(name: str) -> RawSplit:
        sentences, names, origins = (list(part) for part in zip(*pairs[name], strict=True))
        return RawSplit({"source": sentences, "target": names}, np.zeros(len(names)), origins)

    raw = RawData("Names of functions", "text_pair", (), split("train"), split("test"))
    return Subject(
        dataset=prepare(raw, PairTokenizer(str(base), SourceTarget, sizes.length, sizes.target_length)),
        make_model=lambda: copy.deepcopy(saved_model("T5ForConditionalGeneration", base)),
        task=Seq2Seq(),
        training=FineTuning(epochs=8, batch_size=16, learning_rate=1e-3),
        sources={"base": digest_of(base)},
    )


def _base(sizes: Sizes) -> Base:
    return Base(NAME, {"revision": 1, **asdict(sizes)}, RELEASES)


def _make_base(folder: Path, sizes: Sizes) -> None:
    """Learns the tokenizer, trains the model on the pairs of the base, and draws those of the run."""
    import numpy as np

    from trak_core.datasets.named_functions import pairs_of
    from trak_core.modalities.text_pair.pair_tokens import SourceTarget
    from trak_core.subjects.bases import learn_tokenizer, pretrain
    from trak_core.tasks import Seq2Seq
    from trak_core.training import FineTuning

    known = [pair for package in sizes.base_packages for pair in pairs_of(package)]
    sentences = {sentence for sentence, _, _ in known}
    further = [pair for package in sizes.packages for pair in pairs_of(package) if pair[0] not in sentences]
    wanted = sizes.n_train + sizes.n_test
    check_enough(NAME, wanted, f"functions of {', '.join(sizes.packages)}", len(further))
    order = np.random.default_rng(0).permutation(len(further))[:wanted]
    chosen = [further[i] for i in order]
    told = {"train": chosen[: sizes.n_train], "test": chosen[sizes.n_train :]}
    (folder / PAIRS).write_text(json.dumps(told), encoding="utf-8")
    learn_tokenizer([text for sentence, name, _ in known for text in (sentence, name)], sizes.n_tokens, folder)
    contents = {"source": [each[0] for each in known], "target": [each[1] for each in known]}
    inputs = SourceTarget(str(folder), sizes.length, sizes.target_length).inputs(contents)  # type: ignore[arg-type]
    settings = FineTuning(None, 32, 2e-3, steps=sizes.pretraining_steps)
    pretrain(lambda: _fresh_model(sizes), Seq2Seq(), inputs, settings, folder)


def _fresh_model(sizes: Sizes) -> nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    kind: Any = T5Config  # its signature leaves out what all configurations take
    config = kind(
        vocab_size=sizes.n_tokens,
        d_model=sizes.width,
        d_kv=sizes.width // 4,
        d_ff=4 * sizes.width,
        num_layers=sizes.n_layers,
        num_heads=4,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=0,
        use_cache=False,
    )
    return T5ForConditionalGeneration(config)


DOCS_T5 = Recipe(
    name=NAME,
    title="Names of functions by a small T5",
    description="640 training and 96 test sentences with names of functions, and a small T5, trained here first.",
    load=load,
    n_checkpoints=5,
    proj_dim=2048,
    n_subsets=40,
    n_seeds=2,
    n_removal_tests=40,
    why_not_here=lambda: _base(Sizes()).why_not_here(),
)
