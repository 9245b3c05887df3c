"""A model by what people call it: a ready one, one of a library, or their own code, with weights to begin from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trak_core.errors import InvalidSettingError
from trak_core.modalities import MODALITIES, Modality, ModelLibrary, ReadyModel, find_modality
from trak_core.subjects.custom_model import call_function, code_digest, encoding_for, find_function, is_own_code, wanted

if TYPE_CHECKING:
    from torch import nn

OWN_SCRIPT = "or train it by a loop of your own, the train_model= of a trak_core.Subject (docs/your-own-model.md)"


def ready_models() -> dict[str, ReadyModel]:
    """The ready models of all modalities by name."""
    return {model.name: model for modality in MODALITIES.values() for model in modality.models}


def find_model(name: str, modality: str, weights: str | Path = "") -> ReadyModel:
    """The model of that name for examples of a modality.

    Args:
        name: of a ready model, or one in a library, as `torchvision:NAME`, or `module:function`.
        modality: name of the modality.
        weights: a .safetensors or torch file that training begins from; whether they fit shows when a model is made.

    Raises:
        InvalidSettingError: there is none of that name for examples of this kind, or what it needs is not here.
        NeedNotMetError: a pretrained model has no tokenizer.
        CheckpointMismatchError: the file of weights cannot be read.
    """
    found = _find(name, find_modality(modality))
    return _with_weights(found, Path(weights)) if str(weights) else found


def model_is_here(name: str, weights: str = "", sources: Mapping[str, str] | None = None) -> bool:
    """True when a model that a run was built with can be made again, as far as that can be told without running it.

    The arguments are what the run keeps of it: the file that training began from, and the SHA-256 of its sources.
    """
    if weights and not Path(weights).is_file():
        return False
    if known := _libraries(name):
        return any(library.has(name.partition(":")[2]) for _, library in known)
    if is_own_code(name):
        digest = code_digest(name)
        return digest is not None and digest == (sources or {}).get("code")
    return name in ready_models()


def _libraries(name: str) -> list[tuple[Modality, ModelLibrary]]:
    """The libraries that a name may name, with the modalities that have them: models of one place are of many kinds."""
    prefix, colon, _ = name.partition(":")
    every = [(modality, library) for modality in MODALITIES.values() for library in modality.libraries]
    return [(modality, library) for modality, library in every if colon and library.prefix == prefix]


def _find(name: str, modality: Modality) -> ReadyModel:
    libraries = [f"{library.prefix}:{library.example}" for library in modality.libraries]
    own = next((each for each in modality.libraries if name.startswith(f"{each.prefix}:")), None)
    if own is not None:
        return own.find(name.partition(":")[2])
    if known := _libraries(name):
        see = f"see {', '.join(libraries)}, " if libraries else ""
        raise InvalidSettingError(
            f"model={name!r} takes {known[0][0].plural}, and these are {modality.plural}; {see}{OWN_SCRIPT}."
        )
    if is_own_code(name):
        return _of_own_code(name, modality)
    fitting = {model.name: model for model in modality.models}
    if name not in fitting:
        raise InvalidSettingError(
            f"model={name!r}; for {modality.plural} it must be one of: {', '.join([*fitting, *libraries])}, or your "
            "own as module:function."
        )
    return fitting[name]


def _of_own_code(name: str, modality: Modality) -> ReadyModel:
    function, digest = find_function(name)
    asked = wanted(name, function, modality)
    kind = encoding_for(name, asked, modality).kind
    # Trained like the first ready model that takes the same.
    like = next((model for model in modality.models if model.takes == kind), None)
    if like is None:
        raise InvalidSettingError(
            f"model={name!r}: nothing tells how a model for {modality.plural} is trained; build from a recipe of your "
            "own (docs/adding-a-recipe.md)."
        )

    def make(sizes: Mapping[str, int]) -> nn.Module:
        return call_function(name, function, {each: sizes[each] for each in asked})

    return ReadyModel(name, f"your own {name}", kind, make, like.trained, sources={"code": digest})


def _with_weights(model: ReadyModel, path: Path) -> ReadyModel:
    from trak_core.training.weights import begin_from, weights_digest

    if any(not library.takes_weights for _, library in _libraries(model.name)):
        raise InvalidSettingError(
            f"weights={str(path)!r}: {model.name!r} begins from the weights in its own folder; leave the file out, or "
            "save it there as model.safetensors."
        )
    path = path.expanduser().resolve()
    sources = {**model.sources, "weights": weights_digest(path)}
    return replace(model, make=lambda sizes: begin_from(model.make(sizes), path), weights=str(path), sources=sources)
