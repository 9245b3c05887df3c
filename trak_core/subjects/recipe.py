"""What is attributed, and a recipe that makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch takes seconds to import, and listing recipes needs none of it
    from torch import nn

    from trak_core.modalities import Dataset, NewInputReader
    from trak_core.tasks import Task
    from trak_core.training import Trainer, TrainingSettings

__all__ = ["Recipe", "Subject"]


@dataclass(frozen=True)
class Subject:
    """Everything that is attributed.

    Attributes:
        dataset: train and test examples.
        make_model: gives a freshly initialised model, drawing from torch's global generator.
        task: what a prediction is.
        training: how checkpoints and subset models are trained.
        sources: SHA-256 of what models come from besides all this: a person's code, weights to begin from.
    """

    dataset: Dataset
    make_model: Callable[[], nn.Module]
    task: Task
    training: TrainingSettings
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)

    def trainer(self, device: str) -> Trainer:
        """What trains models of this subject on a device."""
        import torch

        from trak_core.inputs import as_tensors
        from trak_core.training import VmapTrainer

        split = self.dataset.train
        inputs, labels = as_tensors(split.inputs, device), torch.from_numpy(split.labels).to(device)
        return VmapTrainer(self.make_model, self.task, inputs, labels, self.training)


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
