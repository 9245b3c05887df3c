"""Image networks of torchvision, by name.

With BatchNorm, what a model says of one example depends on the others of its batch, and dropout makes it depend on
chance; "the gradient of an example" then means nothing. Networks are therefore taken with GroupNorm (Wu and He 2018)
in the place of BatchNorm, as is usual for per-example gradients, and without dropout.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trak_core.errors import InvalidSettingError
from trak_core.modalities.image.pixels import Pixels
from trak_core.modalities.ready_model import HowTrained, ModelLibrary, ReadyModel

if TYPE_CHECKING:
    from torch import nn

MOST_GROUPS = 32
LEAST_CHANNELS = 4
COLOURS = 3


class Torchvision(ModelLibrary):
    """Networks of the package torchvision."""

    prefix = "torchvision"

    def find(self, name: str) -> ReadyModel:
        """As in `ModelLibrary`."""
        models = _torchvision(name)
        names = models.list_models(module=models)
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3)
            hint = f" Did you mean {' or '.join(repr(each) for each in near)}?" if near else ""
            raise InvalidSettingError(
                f"model='torchvision:{name}'; torchvision has {len(names)} classification models, from {names[0]} to "
                f"{names[-1]}, and none of that name.{hint}"
            )

        def make(sizes: Mapping[str, int]) -> nn.Module:
            return make_torchvision(name, sizes["channels"], sizes["n_classes"])

        title = f"{name} of torchvision (GroupNorm in the place of BatchNorm, no dropout)"
        return ReadyModel(f"{self.prefix}:{name}", title, Pixels.kind, make, HowTrained(16, 128, 0.05, 0.0005))

    def has(self, name: str) -> bool:
        """True when the package is there; nothing is imported."""
        return importlib.util.find_spec("torchvision") is not None


def make_torchvision(name: str, channels: int, n_classes: int) -> nn.Module:
    """A freshly initialised network for `[n, channels, height, width]`; grey images are given to it as colours."""
    model: nn.Module = _torchvision(name).get_model(name, weights=None, num_classes=n_classes)
    _replace_layers(model)
    if channels == 1:
        model.register_forward_pre_hook(_as_colours)
    return model


def _as_colours(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (inputs[0].expand(-1, COLOURS, -1, -1),)


def _replace_layers(model: nn.Module) -> None:
    """Puts GroupNorm in the place of BatchNorm, and nothing in the place of dropout."""
    from torch import nn

    for parent in [*model.modules()]:
        for name, child in [*parent.named_children()]:
            if isinstance(child, nn.BatchNorm2d):
                channels = child.num_features
                setattr(parent, name, nn.GroupNorm(_groups(channels), channels, child.eps, child.affine))
            elif isinstance(child, nn.modules.dropout._DropoutNd):
                setattr(parent, name, nn.Identity())


def _groups(channels: int) -> int:
    """As many groups as there can be of a few channels each: alone on a single pixel, a channel would become 0."""
    return max(
        groups
        for groups in range(1, MOST_GROUPS + 1)
        if channels % groups == 0 and (groups == 1 or channels >= LEAST_CHANNELS * groups)
    )


def _torchvision(name: str) -> Any:
    import torch

    try:
        models = importlib.import_module("torchvision.models")
    except ModuleNotFoundError as error:
        raise InvalidSettingError(
            f"model='torchvision:{name}' needs the package torchvision, which is not installed; install the version "
            f"made for torch {torch.__version__}, as in `pip install torchvision`."
        ) from error
    except (ImportError, RuntimeError, OSError) as error:  # made for another torch
        raise InvalidSettingError(
            f"model='torchvision:{name}': the torchvision that is installed does not work with torch "
            f"{torch.__version__} ({str(error).splitlines()[0]}); install the one made for it (for a CPU: "
            "`pip install torchvision --index-url https://download.pytorch.org/whl/cpu`)."
        ) from error
    return models
