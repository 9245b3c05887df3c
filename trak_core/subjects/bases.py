"""Small pretrained models that recipes make here once: weights, tokenizer and data in a folder, as Hugging Face does.

Nothing is downloaded. A base is pretrained when it is first needed, which takes minutes, and lies in `data/bases` from
then on, under a name that tells what it was made from.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from trak_core.errors import InvalidDataError
from trak_core.folders import bases_dir

if TYPE_CHECKING:
    from torch import nn

    from trak_core.tasks import Inputs, Task
    from trak_core.training import FineTuning

logger = logging.getLogger(__name__)

DONE = "base.json"
"""Written last: what the base was made from."""


@dataclass(frozen=True)
class Base:
    """A pretrained model that a recipe starts from."""

    name: str  # of the recipe
    made_from: Mapping[str, Any]  # all that decides what it becomes, in types that JSON has
    packages: tuple[str, ...]  # whose installed releases decide too

    def told(self) -> str:
        """What it is made from, as JSON."""
        versions = {package: importlib.metadata.version(package) for package in self.packages}
        return json.dumps({"name": self.name, **self.made_from, "versions": versions}, sort_keys=True)

    @property
    def folder(self) -> Path:
        """Where it lies, or will."""
        return bases_dir() / f"{self.name}-{hashlib.sha256(self.told().encode()).hexdigest()[:12]}"

    def why_not_here(self) -> str | None:
        """Why a run that started from it cannot go on, after "run 'mine' ..."; None where it can. Quick."""
        try:
            is_here = (self.folder / DONE).is_file()
        except importlib.metadata.PackageNotFoundError as error:
            return f"starts from a base that is pretrained on {error.name}, which is not installed"
        if is_here:
            return None
        return (
            "starts from a base that is pretrained where it is built, and there is none here yet, or one of other "
            f"releases; `python -m trak_core build {self.name}` makes it"
        )


def base_folder(base: Base, make: Callable[[Path], None]) -> Path:
    """The folder of a base, made if it is not there; the first who asks makes it, and others wait.

    Args:
        base: which one.
        make: fills an empty folder.
    """
    told, folder = base.told(), base.folder
    if (folder / DONE).is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / DONE).is_file():
            logger.info("pretraining the base of %s, once; it goes to %s", base.name, folder)
            with tempfile.TemporaryDirectory(dir=folder.parent) as work:
                made = Path(work) / "made"
                made.mkdir()
                make(made)
                (made / DONE).write_text(told, encoding="utf-8")
                shutil.rmtree(folder, ignore_errors=True)
                made.rename(folder)
    return folder


def check_enough(recipe: str, wanted: int, what: str, n_found: int) -> None:
    """Refuses to draw more texts for a recipe than the installed packages have.

    Raises:
        InvalidDataError: there are too few.
    """
    if n_found < wanted:
        raise InvalidDataError(
            f"recipe {recipe!r} takes {wanted} {what}, and only {n_found} are there; run `pip install -r "
            "requirements.txt`."
        )


def digest_of(folder: Path) -> str:
    """SHA-256 (hex) of the weights of a base."""
    with (folder / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pretrain(
    make_model: Callable[[], nn.Module], task: Task, inputs: dict[str, Any], settings: FineTuning, folder: Path
) -> None:
    """Trains a fresh model of Hugging Face on inputs with labels `[n, ...]`, and saves it to the folder of its base."""
    import torch

    from trak_core.inputs import as_tensors
    from trak_core.training import FineTuner
    from trak_core.training.ensemble import make_models

    known: Inputs = as_tensors(inputs)
    assert isinstance(known, dict)  # as they came
    labels = known["labels"]
    state, _ = FineTuner(make_model, task, known, labels, settings).train(torch.arange(len(labels)), seed=0)
    model: Any = make_models(make_model, [0])[0]
    model.load_state_dict(state, strict=False)
    model.save_pretrained(folder)


@lru_cache(maxsize=4)
def saved_model(kind: str, folder: Path) -> nn.Module:
    """The model of a base, as the class of transformers of that name reads it; copy it before it is changed."""
    import transformers

    from trak_core.modalities.text.transformers_models import quiet

    with quiet():
        # The plain form of attention can be differentiated forwards too.
        model: nn.Module = getattr(transformers, kind).from_pretrained(
            folder, local_files_only=True, attn_implementation="eager"
        )
    return model


def learn_tokenizer(texts: list[str], n_tokens: int, folder: Path, has_first: bool = False) -> None:
    """A byte-level BPE tokenizer of that many tokens, learnt from the texts and saved to the folder.

    Token 0 is padding, 1 stands for what is masked, 2 ends a text; with `has_first` it begins each text instead, as the
    token by which BERT tells what a text is.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_tokens,
        special_tokens=["<pad>", "<mask>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if has_first:
        tokenizer.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 2)])
    fast: Any = PreTrainedTokenizerFast  # untyped
    whole = fast(tokenizer_object=tokenizer, pad_token="<pad>", mask_token="<mask>", eos_token="</s>")
    whole.save_pretrained(folder)
