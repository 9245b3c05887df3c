"""A recipe that makes a subject."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trak_core.subjects.subject import Subject

if TYPE_CHECKING:
    from trak_core.modalities import NewInputReader

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """A subject with the defaults of its build.

    Attributes:
        name: on the command line, and of its run unless another is given.
        title: for people.
        description: one sentence.
        load: gives the subject; imports torch and reads the data.
        n_checkpoints: models trained on all train examples.
        proj_dim: dimension of the stored features.
        n_subsets: half-subsets of the ledger.
        n_seeds: models retrained on each subset.
        n_removal_tests: test examples that removal is measured on.
        model: name of the ready model, where the data is a person's own; else the name of the recipe says it all.
        metadata: what the run's provenance tells besides its settings, by name; texts, numbers and lists of them.
        new_inputs: how new examples are read, where the recipe does that in its own way; None for that of its modality.
    """

    name: str
    title: str
    description: str
    load: Callable[[], Subject]
    n_checkpoints: int
    proj_dim: int
    n_subsets: int
    n_seeds: int
    n_removal_tests: int = 100
    model: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    new_inputs: NewInputReader | None = field(default=None, hash=False)
