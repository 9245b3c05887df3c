"""A recipe that makes a subject."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trak_core.subjects.subject import Subject

if TYPE_CHECKING:
    from trak_core.modalities import NewInputReader


@dataclass(frozen=True)
class Recipe:
    """A subject with the defaults of its build."""

    name: str  # on the command line, and of its run unless another is given
    title: str  # for people
    description: str  # one sentence
    load: Callable[[], Subject]  # gives the subject; imports torch and reads the data
    n_checkpoints: int  # models trained on all train examples
    proj_dim: int  # dimension of the stored features
    n_subsets: int  # half-subsets of the ledger
    n_seeds: int  # models retrained on each subset
    n_removal_tests: int = 100  # test examples that removal is measured on
    # name of the ready model, where the data is a person's own; else the name of the recipe says it all
    model: str = ""
    # what the run's provenance tells besides its settings, by name; texts, numbers and lists of them
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    # how new examples are read, where the recipe does that in its own way; None for that of its modality
    new_inputs: NewInputReader | None = field(default=None, hash=False)
