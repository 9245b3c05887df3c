"""What can be chosen about a build, checked before anything is computed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trak_core.errors import InvalidSettingError
from trak_core.methods import RIDGES
from trak_core.store.local_paths import without_paths
from trak_core.subjects import Recipe, Subject
from trak_core.subjects.planting import check_planting
from trak_core.tasks import Task

FIT_SHARE, A_FIFTH = 0.2, -1
MIN_SUBSETS = 20
SUBSETS_A_BLOCK = 10
"""Of the ledger, that are retrained together at most."""
METHOD_REVISION = 4
"""Raise it with any change of the code that changes the numbers of a run."""
FIRST_SCHEMA = 4
"""Of the first runs whose fingerprints still hold: later changes of the tables change no numbers."""
SIZE_LIMITS = {"n_checkpoints": (1, 1000), "n_subsets": (MIN_SUBSETS, 10_000), "n_seeds": (1, 100)}
"""The least and the most of each size of a build."""
GROWTH = ("grows", "n_fit", "n_label_repeats", "subsets_a_block")
"""Settings of builds whose ledger grows."""


@dataclass(frozen=True)
class BuildSettings:
    """The settings that decide the numbers of a run.

    Raises:
        InvalidSettingError: a setting is out of its range.
    """

    recipe: str  # its name, or what kind of own data it is
    seed: int  # root of every random choice
    device: str  # "cpu" or "cuda", resolved
    n_checkpoints: int  # models trained on all train examples
    proj_dim: int  # dimension of the stored features
    n_subsets: int  # half-subsets of the ledger; 0, as `n_seeds`, where models cannot be retrained
    n_seeds: int  # models retrained on each subset
    flip_labels: float = 0.0  # share of the train labels that are made wrong on purpose, 0 to 0.5
    # which wrong labels these get, "uniform" or "confusable"; "uniform" where none is made wrong
    flip_kind: str = "uniform"
    model: str = ""  # name of the ready model that own data is built with; empty where the recipe brings a model
    # whether the ledger may grow: then `n_subsets` is the most that it comes to, and no part of what the run is
    grows: bool = False
    n_fit: int = A_FIFTH  # subsets on which the ridge and the calibration are chosen; LDS is reported on the others
    n_label_repeats: int = 0  # how often labels are looked at in each round; 0 for what is usual
    subsets_a_block: int = SUBSETS_A_BLOCK  # of the ledger, that are retrained together

    def __post_init__(self) -> None:
        if self.n_fit == A_FIFTH:
            object.__setattr__(self, "n_fit", round(FIT_SHARE * self.n_subsets))
        # 0, 0.0 and -0.0 are the same setting, so they must have the same fingerprint.
        object.__setattr__(self, "flip_labels", float(self.flip_labels) or 0.0)
        check_planting(self.flip_labels, self.flip_kind, "flip_labels", "flip_kind")
        if self.flip_labels == 0 and self.flip_kind != "uniform":
            raise InvalidSettingError(
                f"flip_kind={self.flip_kind!r}, but flip_labels=0 makes no label wrong; give the share to make wrong "
                "as well, as in flip_labels=0.1."
            )
        check_limits(vars(self), {"seed": (0, 2**62), "proj_dim": (1, 100_000)})
        check_sizes({name: getattr(self, name) for name in SIZE_LIMITS}, self.grows)

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        seed: int,
        device: str,
        flip_labels: float = 0.0,
        flip_kind: str = "uniform",
        **overrides: Any,
    ) -> "BuildSettings":
        """The recipe's defaults with the overrides that are not None."""
        sizes = {name: getattr(recipe, name) for name in ("n_checkpoints", "proj_dim", "n_subsets", "n_seeds")}
        sizes |= {name: value for name, value in overrides.items() if value is not None}
        device = resolve_device(device)
        return cls(recipe.name, seed, device, flip_labels=flip_labels, flip_kind=flip_kind, model=recipe.model, **sizes)

    def command(self, name: str) -> list[str]:
        """The arguments of `python -m trak_core` that build a recipe with these settings, as a run of that name."""
        untold = {"recipe", "model", *GROWTH} | (set() if self.flip_labels else {"flip_labels", "flip_kind"})
        told = {key: value for key, value in {"name": name, **asdict(self)}.items() if key not in untold}
        return ["build", self.recipe, *as_options(told)]

    def fingerprint(self, subject: Subject) -> str:
        """SHA-256 (hex) over everything that the numbers of the run depend on."""
        from trak_core.training.weights import digest_of  # torch takes seconds to import

        model = subject.make_model()
        own = without_paths(asdict(self))  # a folder may move: what lies in it is told by the sources
        # How far a ledger has grown, and in which steps, is no part of what the run is; a recipe's does not grow.
        for name in ("n_subsets", "subsets_a_block") if self.grows else GROWTH:
            del own[name]
        parts = {
            "schema_version": FIRST_SCHEMA,
            "method_revision": METHOD_REVISION,
            # Runs of recipes were built before there were models to choose from; their fingerprints still hold.
            "settings": {name: value for name, value in own.items() if name != "model" or value},
            "fit_share": FIT_SHARE,
            "ridges": RIDGES,
            "training": subject.training_facts,
            "task": _task_in_words(subject.task),
            "model": repr(model),
            "parameters": {name: list(value.shape) for name, value in model.named_parameters()},
            "data": subject.dataset.fingerprint(),
            **({"checkpoints": [digest_of(state) for state in subject.checkpoints]} if subject.checkpoints else {}),
            **({"sources": dict(subject.sources)} if subject.sources else {}),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def facts(self, subject: Subject) -> dict[str, Any]:
        """What people know of what the fingerprint is over, by its name in the provenance of a run."""
        own = {name: value for name, value in asdict(self).items() if name not in ("n_subsets", *GROWTH)}
        return {**own, "data_fingerprint": subject.dataset.fingerprint(), "sources": dict(subject.sources)}


def as_options(values: Mapping[str, object]) -> list[str]:
    """Settings by name as options of the command line."""
    return [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def check_sizes(sizes: Mapping[str, int], grows: bool = False) -> None:
    """Refuses a number of models or subsets, told by name, with which nothing can be built.

    A ledger that grows may have any length.

    Raises:
        InvalidSettingError: names the size.
    """
    limits = {name: SIZE_LIMITS[name] for name in sizes}
    if grows and "n_subsets" in limits:
        limits["n_subsets"] = (0, limits["n_subsets"][1])
    if sizes.get("n_subsets") == sizes.get("n_seeds") == 0:
        del limits["n_subsets"], limits["n_seeds"]  # nothing is retrained
    check_limits(sizes, limits)


def check_limits(settings: Mapping[str, Any], limits: dict[str, tuple[int, int]]) -> None:
    """Refuses settings, told by name, that are below the least or above the most.

    Raises:
        InvalidSettingError: names the setting.
    """
    for name, (low, high) in limits.items():
        if not low <= settings[name] <= high:
            raise InvalidSettingError(f"{name}={settings[name]}; it must be from {low:,} to {high:,}.")


def _task_in_words(task: Task) -> str:
    """The task with its settings where these are plain values, which say the same in every process; else its name."""
    is_plain = hasattr(task, "__dataclass_fields__") and all(
        isinstance(value, str | int | float) for value in vars(task).values()
    )
    return repr(task) if is_plain else f"{type(task).__name__}({task.name})"


def resolve_device(device: str) -> str:
    """The device by name: what "auto" means here, or the device asked for if it can be had.

    Raises:
        InvalidSettingError: the device is unknown, or there is no GPU.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise InvalidSettingError(f"device={device!r}; it must be auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise InvalidSettingError("device='cuda', but torch finds no GPU here; use cpu or auto.")
    return device
