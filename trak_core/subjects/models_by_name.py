"""A model by what people call it: a ready one, one of a library, or their own code, with weights to begin from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trak_core.errors import InvalidSettingError
from trak_core.models.images_by_name import check_image_name, has_torchvision, make_torchvision
from trak_core.models.texts_by_name import (
    has_pretrained,
    make_pretrained,
    pretrained_digest,
    source_of,
    tokenizer_of,
)
from trak_core.subjects.custom_model import call_function, code_digest, find_function, is_own_code, wanted
from trak_core.subjects.ready_model import READY_MODELS, ReadyModel, trained

if TYPE_CHECKING:
    from torch import nn

__all__ = ["find_model", "model_is_here"]

TORCHVISION, HUGGING_FACE = "torchvision:", "huggingface:"
LIKE = {"pixels": "cnn", "words": "words", "tokens": "transformer"}
"""Whose training settings a person's own network gets, by what it takes."""


def find_model(name: str, modality: str, weights: str | Path = "") -> ReadyModel:
    """The model of that name for images or for texts.

    Args:
        name: of a ready model; `torchvision:NAME`; `huggingface:NAME_OR_FOLDER`; or `module:function`.
        modality: "image" or "text".
        weights: a .safetensors or torch file that training begins from; empty for fresh weights. Whether they fit
            shows when the model is made.

    Raises:
        InvalidSettingError: there is none of that name for examples of this kind, or what it needs is not here.
        NeedNotMetError: a pretrained model has no tokenizer.
        CheckpointMismatchError: the file of weights cannot be read.
    """
    found = _find(name, modality)
    return _with_weights(found, Path(weights)) if str(weights) else found


def model_is_here(name: str, weights: str = "", sources: Mapping[str, str] | None = None) -> bool:
    """True when a model that a run was built with can be made again, as far as that can be told without running it.

    Args:
        name: as the run keeps it.
        weights: the file that training began from, likewise.
        sources: SHA-256 of what the model came from, likewise.
    """
    if weights and not Path(weights).is_file():
        return False
    if name.startswith(TORCHVISION):
        return has_torchvision()
    if name.startswith(HUGGING_FACE):
        return has_pretrained(name.removeprefix(HUGGING_FACE))
    if is_own_code(name):
        digest = code_digest(name)
        return digest is not None and digest == (sources or {}).get("code")
    return name in READY_MODELS


def _find(name: str, modality: str) -> ReadyModel:
    if name.startswith(TORCHVISION):
        return _of_torchvision(name, modality)
    if name.startswith(HUGGING_FACE):
        return _of_hugging_face(name, modality)
    if is_own_code(name):
        return _of_own_code(name, modality)
    fitting = [model.name for model in READY_MODELS.values() if (model.encoding == "pixels") == (modality == "image")]
    if name not in fitting:
        library = "torchvision:NAME" if modality == "image" else "huggingface:FOLDER"
        raise InvalidSettingError(
            f"model={name!r}; for {modality}s it must be one of: {', '.join(fitting)}, {library}, or your own as "
            "module:function."
        )
    return READY_MODELS[name]


def _of_torchvision(name: str, modality: str) -> ReadyModel:
    if modality != "image":
        raise InvalidSettingError(f"model={name!r} takes images, and these are {modality}s; see huggingface:FOLDER.")
    short = name.removeprefix(TORCHVISION)
    check_image_name(short)

    def make(shape: tuple[int, ...], n_tokens: int, n_classes: int) -> nn.Module:
        return make_torchvision(short, shape[0], n_classes)

    title = f"{short} of torchvision (GroupNorm in the place of BatchNorm, no dropout)"
    return ReadyModel(name, title, "pixels", make, trained(16, 128, 0.05, 0.0005))


def _of_hugging_face(name: str, modality: str) -> ReadyModel:
    if modality != "text":
        raise InvalidSettingError(
            f"model={name!r} takes texts, and these are {modality}s; see torchvision:NAME, or train it with a script "
            "of your own and save a run in ten lines (docs/your-own-model.md)."
        )
    source = source_of(name.removeprefix(HUGGING_FACE))

    def make(shape: tuple[int, ...], n_tokens: int, n_classes: int) -> nn.Module:
        return make_pretrained(source, n_classes)

    return ReadyModel(
        HUGGING_FACE + source,
        f"{Path(source).name} of Hugging Face, all of it trained on, without dropout",
        tokenizer_of(source),
        make,
        trained(4, 16, 0.01, 0.0),
        sources={"pretrained": pretrained_digest(source)},
    )


def _of_own_code(name: str, modality: str) -> ReadyModel:
    function, digest = find_function(name)
    asked = wanted(name, function, modality)
    encoding = "pixels" if modality == "image" else "words" if "n_words" in asked else "tokens"
    like = READY_MODELS[LIKE[encoding]]

    def make(shape: tuple[int, ...], n_tokens: int, n_classes: int) -> nn.Module:
        given = {"n_classes": n_classes, **_shapes(encoding, shape, n_tokens)}
        return call_function(name, function, {each: given[each] for each in asked})

    return ReadyModel(name, f"your own {name}", like.encoding, make, like.settings, sources={"code": digest})


def _shapes(encoding: str, shape: tuple[int, ...], n_tokens: int) -> dict[str, int]:
    if encoding == "pixels":
        return dict(zip(("channels", "height", "width"), shape, strict=True))
    return {"n_words": shape[0]} if encoding == "words" else {"n_tokens": n_tokens, "length": shape[0]}


def _with_weights(model: ReadyModel, path: Path) -> ReadyModel:
    from trak_core.subjects.initial_weights import begin_from, weights_digest

    if model.name.startswith(HUGGING_FACE):
        raise InvalidSettingError(
            f"weights={str(path)!r}: {model.name!r} begins from the weights in its own folder; leave the file out, or "
            "save it there as model.safetensors."
        )
    path = path.expanduser().resolve()
    make: Callable[..., Any] = model.make
    return replace(
        model,
        make=lambda *sizes: begin_from(make(*sizes), path),
        weights=str(path),
        sources={**model.sources, "weights": weights_digest(path)},
    )
