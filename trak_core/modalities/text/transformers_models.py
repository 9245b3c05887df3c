"""Sequence classifiers of Hugging Face, by name or folder, tokenised with their own tokenizer.

Weights are read from safetensors, from this machine alone, and no code that comes with a model is run.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trak_core.errors import InvalidSettingError
from trak_core.modalities.ready_model import HowTrained, ModelLibrary, ReadyModel
from trak_core.modalities.text.lora import LORA, check_peft, read_name, with_adapters
from trak_core.modalities.text.positions import positions_of
from trak_core.modalities.text.subword_tokens import Stamp, Tokenizer, first_line, stamp_of

if TYPE_CHECKING:
    from torch import Tensor, nn

LONGEST = 128
"""Tokens of a text that are read at most: the cost of training grows with them."""
HEADROOM = 2
"""Positions that some models (RoBERTa) keep for themselves."""


class HuggingFace(ModelLibrary):
    """Sequence classifiers by their folder, or by their name where they are on this machine."""

    prefix = "huggingface"
    example = "FOLDER"
    takes_weights = False  # its own folder holds them
    has_adapters = True

    def find(self, name: str) -> ReadyModel:
        """As in `ModelLibrary`."""
        source, rank = read_name(name)
        if rank:
            check_peft(rank)

        def make(sizes: Mapping[str, int]) -> nn.Module:
            return make_pretrained(source, sizes["n_classes"], rank)

        trained = f"adapters of rank {rank} and the head" if rank else "all of it"
        return ReadyModel(
            f"{self.prefix}:{source}" + (f"{LORA}{rank}" if rank else ""),
            f"{Path(source).name} of Hugging Face, {trained} trained on, without dropout",
            tokenizer_of(source),
            make,
            HowTrained(5, 8, 2e-3, 0.0) if rank else HowTrained(4, 16, 0.01, 0.0),
            sources={"pretrained": pretrained_digest(source)},
            task="text_classification" if rank else "",
        )

    def has(self, name: str) -> bool:
        """True when transformers is installed and the model is on this machine; nothing of it is read."""
        return importlib.util.find_spec("transformers") is not None and model_folder(read_name(name)[0]) is not None


def model_folder(source: str) -> Path | None:
    """Where the files of the model lie on this machine; None when they are not there."""
    folder = Path(source)
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            found = try_to_load_from_cache(source, "config.json")
        except HFValidationError:  # no name of a model: a folder that was there once, say
            return None
        if not isinstance(found, str):
            return None
        folder = Path(found).parent
    return folder if (folder / "config.json").is_file() else None


def pretrained_digest(source: str) -> str:
    """SHA-256 (hex) over the configuration, the weights and the tokenizer."""
    folder = model_folder(source)
    assert folder is not None  # its configuration was read
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".json", ".txt", ".model", ".jinja"):
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def tokenizer_of(source: str) -> Tokenizer:
    """The tokenizer of the model.

    Raises:
        InvalidSettingError: there is no such model, or transformers is not installed.
        NeedNotMetError: the model has no tokenizer.
    """
    config = read_config(source)
    most = (positions_of(config) or LONGEST + HEADROOM) - HEADROOM
    tokenizer = Tokenizer(source, max(1, min(LONGEST, most)))
    _ = tokenizer.padding  # a tokenizer without one should be found here
    return tokenizer


def make_pretrained(source: str, n_classes: int, rank: int = 0) -> nn.Module:
    """The model with its pretrained weights; what the classes alone decide is freshly initialised.

    With a rank it is frozen, but for fresh LoRA adapters and the head.

    Takes tokens `[n, length]` int64, gives logits `[n, n_classes]`.
    """
    from transformers import AutoModelForSequenceClassification

    from trak_core.modalities.text.networks import TokenClassifier

    config, known, padding = _pretrained(source, n_classes, stamp_of(model_folder(source) or source))
    models: Any = AutoModelForSequenceClassification
    # The plain form of attention is the one that can be differentiated for many models at once.
    model = models.from_config(config, attn_implementation="eager")
    model.load_state_dict(known, strict=False)
    if rank:
        # Whatever the pretrained part does not hold is the head.
        children = dict(model.named_children())
        heads = [name for name in children if name != model.base_model_prefix and len([*children[name].parameters()])]
        model = with_adapters(model, rank, tuple(heads))
    return TokenClassifier(model, padding)


@lru_cache(maxsize=4)
def _pretrained(source: str, n_classes: int, stamp: Stamp) -> tuple[Any, dict[str, Tensor], int]:
    """The configuration for that many classes, the weights that are there for it, and the padding token."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification

    config = read_config(source)
    config.num_labels = n_classes
    config.dtype = torch.float32  # bfloat16 is read as it is and loses nothing
    config.problem_type = "single_label_classification"
    padding = tokenizer_of(source).padding
    config.pad_token_id = padding
    try:
        with quiet():
            model, report = AutoModelForSequenceClassification.from_pretrained(
                source,
                config=config,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InvalidSettingError(
            f"model='huggingface:{source}': its weights cannot be read ({first_line(error)}); they must be "
            "safetensors, as model.save_pretrained(FOLDER) writes them."
        ) from error
    fresh = {*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])}
    return config, {name: value for name, value in model.state_dict().items() if name not in fresh}, padding


@contextmanager
def quiet() -> Iterator[None]:
    """Reading says nothing of heads that will be fresh, and leaves torch's generator as it was."""
    import torch
    import transformers

    logging: Any = transformers.utils.logging
    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()


def read_config(source: str) -> Any:
    """The configuration of the model.

    Raises:
        InvalidSettingError: there is none that can be read, or transformers is not installed.
    """
    if importlib.util.find_spec("transformers") is None:
        raise InvalidSettingError(
            f"model='huggingface:{source}' needs the package transformers, which is not installed; "
            "`pip install transformers`."
        )
    if model_folder(source) is None:
        raise InvalidSettingError(
            f"model='huggingface:{source}': neither a folder with a model nor the name of one that is on this machine; "
            "give a folder that model.save_pretrained(FOLDER) and tokenizer.save_pretrained(FOLDER) wrote."
        )
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise InvalidSettingError(
            f"model='huggingface:{source}': its configuration cannot be read ({first_line(error)}); save the model "
            "again by model.save_pretrained(FOLDER)."
        ) from error
