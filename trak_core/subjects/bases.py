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
from pathlib import Path
from typing import Any

from filelock import FileLock

from trak_core.folders import bases_dir

logger = logging.getLogger(__name__)

DONE = "base.json"
"""Written last: what the base was made from."""


def base_folder(
    name: str, made_from: Mapping[str, Any], packages: tuple[str, ...], make: Callable[[Path], None]
) -> Path:
    """The folder of a base, made if it is not there; the first who asks makes it, and others wait.

    Args:
        name: of the recipe.
        made_from: all that decides what it becomes, in types that JSON has.
        packages: whose installed releases decide too.
        make: fills an empty folder.
    """
    versions = {package: importlib.metadata.version(package) for package in packages}
    told = json.dumps({"name": name, **made_from, "versions": versions}, sort_keys=True)
    folder = bases_dir() / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    if (folder / DONE).is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / DONE).is_file():
            logger.info("pretraining the base of %s, once; it goes to %s", name, folder)
            with tempfile.TemporaryDirectory(dir=folder.parent) as work:
                made = Path(work) / "made"
                made.mkdir()
                make(made)
                (made / DONE).write_text(told, encoding="utf-8")
                shutil.rmtree(folder, ignore_errors=True)
                made.rename(folder)
    return folder


def digest_of(folder: Path) -> str:
    """SHA-256 (hex) of the weights of a base."""
    with (folder / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def learn_tokenizer(texts: list[str], n_tokens: int, folder: Path) -> None:
    """A byte-level BPE tokenizer of that many tokens, learnt from the texts and saved to the folder.

    Token 0 is padding, 1 stands for what is masked, 2 ends a text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
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
    fast: Any = PreTrainedTokenizerFast  # untyped
    whole = fast(tokenizer_object=tokenizer, pad_token="<pad>", mask_token="<mask>", eos_token="</s>")
    whole.save_pretrained(folder)
