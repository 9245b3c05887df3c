"""What is attributed: data, model, task, and how its models are trained; of a recipe or of somebody's own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trak_core.errors import InvalidSettingError, NeedNotMetError

if TYPE_CHECKING:  # torch takes seconds to import, and listing recipes needs none of it
    from torch import Tensor, nn

    from trak_core.modalities import Dataset, NewInputReader
    from trak_core.tasks import Task
    from trak_core.training import FineTuning, Trainer, TrainingSettings, TrainModel
    from trak_core.training.weights import Checkpoint

ONE_FUNCTION = (
    "One function would add the evidence: train_model(indices, seed), which trains your model on these train examples "
    "and returns its state dict"
)


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Subject:
    """Data, model, task, and how models are trained on the data.

    ```python
    subject = trak_core.Subject(
        name="mine", train=(inputs, labels), test=(test_inputs, test_labels), task="image_classification",
        make_model=make_model, train_model=train_model,
    )
    subject.build()
    ```

    Args:
        name: of the run that is built from it.
        train: a DataLoader without shuffling, an iterable of batches, or `(inputs, labels)` as arrays or tensors; a
            dict may hold its labels. Row i is the train example i that `indices` name.
        test: examples to explain, likewise.
        task: "image_classification", "text_classification", "regression", or a task of your own.
        make_model: a function that gives a freshly initialised model, or a module of the architecture; a trained module
            is its own checkpoint where nothing else is given.
        train_model: `train_model(indices, seed)` or `train_model(indices, seed, log)`, which trains a model on these
            train examples alone, by any loop, and returns its state dict or the module; `log` is a `StepLog`.
        checkpoints: weights trained on all train examples, in place of such as would be trained here.
        training: in place of `train_model`: `TrainingSettings`, by which many small models are trained at once, or
            `FineTuning`, by which one after another is fine-tuned from the weights that `make_model` gives.
        class_names: in the order of the labels; numbers by default.
        title: what people read; the name by default.
        texts: of the train and of the test examples, to show them.
        thumbnails: PNG or WebP images of the train and of the test examples; made from inputs that are images.
        modality: "image", "text" or "numbers"; found out by default.
        dataset: in place of `train` and `test`, data that are in form already.
        sources: SHA-256 of what models come from besides all this: somebody's code, weights to begin from.

    Raises:
        InvalidSettingError: an argument is missing or cannot be.
        EmptyDataError, InvalidDataError, LabelError, ShuffledDataError: the data cannot be used.
        InvalidModelError: the model cannot take the data, or gives no outputs for the task.
        CheckpointMismatchError: checkpoints do not fit the model.
    """

    name: str
    dataset: Dataset  # train and test examples
    make_model: Callable[[], nn.Module]
    task: Task
    training: TrainingSettings | FineTuning | None
    sources: Mapping[str, str]
    train_model: TrainModel | None
    checkpoints: tuple[dict[str, Tensor], ...]  # state dicts that were given, in float32 on the CPU
    path: Path | None

    def __repr__(self) -> str:
        trains = "built-in trainer" if self.training else "train_model" if self.train_model else "no training"
        return (
            f"Subject({self.name or self.dataset.name!r}: {len(self.dataset.train):,} train and "
            f"{len(self.dataset.test):,} test examples, {self.task.name}, {trains})"
        )

    def __init__(
        self,
        name: str = "",
        train: Any = None,
        test: Any = None,
        task: str | Task = "image_classification",
        make_model: nn.Module | Callable[[], nn.Module] | None = None,
        train_model: TrainModel | None = None,
        checkpoints: Sequence[Checkpoint] | None = None,
        training: TrainingSettings | FineTuning | None = None,
        *,
        class_names: Sequence[str] | None = None,
        title: str | None = None,
        texts: tuple[Sequence[str], Sequence[str]] | None = None,
        thumbnails: tuple[Sequence[bytes], Sequence[bytes]] | None = None,
        modality: str | None = None,
        dataset: Dataset | None = None,
        sources: Mapping[str, str] | None = None,
        path: Path | None = None,
    ) -> None:
        if not isinstance(name, str):
            raise InvalidSettingError(f"name is a {type(name).__name__}; give a text, the name of the run.")
        if train_model is not None and training is not None:
            raise InvalidSettingError(
                "give a subject train_model or training, not both: one of them trains its models."
            )
        if training is not None:
            from trak_core.training import FineTuning, TrainingSettings

            if not isinstance(training, TrainingSettings | FineTuning):
                raise InvalidSettingError(
                    f"training is a {type(training).__name__}; give trak_core.TrainingSettings(epochs=..., "
                    "batch_size=..., learning_rate=..., momentum=..., weight_decay=...), or trak_core.FineTuning("
                    "epochs=..., batch_size=..., learning_rate=...) for one model after another."
                )
        if dataset is None:
            from trak_core.subjects.given_data import code_sources, given_checkpoints, given_dataset
            from trak_core.tasks import find_task

            if train is None or test is None or make_model is None:
                needed = {"train": train, "test": test, "make_model": make_model}
                missing = [what for what, value in needed.items() if value is None]
                raise InvalidSettingError(
                    f"subject {name!r} has no {' and no '.join(missing)}; give train=, test= and make_model=."
                )
            if checkpoints is None and train_model is None and training is None:
                from torch import nn

                if not isinstance(make_model, nn.Module):
                    raise InvalidSettingError(
                        f"subject {name!r} has neither checkpoints nor a way to train some; give train_model=, "
                        "training= or checkpoints=."
                    )
                checkpoints = [make_model]  # a trained module is its own only checkpoint
            sources = sources or code_sources(train_model=train_model, make_model=make_model)
            task, make_model = find_task(task), as_function(make_model)
            dataset = given_dataset(
                title or name, train, test, task, make_model, class_names, texts, thumbnails, modality
            )
            checkpoints = given_checkpoints(checkpoints, make_model)
        given = {"name": name, "dataset": dataset, "make_model": make_model, "task": task, "training": training}
        optional = {"sources": dict(sources or {}), "train_model": train_model, "path": path}
        for key, value in {**given, **optional, "checkpoints": tuple(checkpoints or ())}.items():
            object.__setattr__(self, key, value)

    @property
    def can_train(self) -> bool:
        """True when models can be trained on subsets of its data."""
        return self.training is not None or self.train_model is not None

    @property
    def trains_together(self) -> bool:
        """True when the built-in trainer trains its models many at once, and `vmap` runs them."""
        from trak_core.training import TrainingSettings

        return isinstance(self.training, TrainingSettings)

    @property
    def training_facts(self) -> dict[str, Any]:
        """How models are trained, as a run keeps it."""
        if self.training is not None:
            return self.training.facts()
        return {"by": "train_model"} if self.train_model is not None else {}

    def trainer(self, device: str) -> Trainer:
        """What trains models of this subject on a device.

        Raises:
            NeedNotMetError: nothing does.
        """
        import torch

        from trak_core.inputs import as_tensors
        from trak_core.training import FineTuner, FineTuning, LoopTrainer, VmapTrainer

        split = self.dataset.train
        if self.training is not None:
            inputs, labels = as_tensors(split.inputs, device), torch.from_numpy(split.labels).to(device)
            if isinstance(self.training, FineTuning):
                return FineTuner(self.make_model, self.task, inputs, labels, self.training)
            return VmapTrainer(self.make_model, self.task, inputs, labels, self.training)
        if self.train_model is None:
            raise NeedNotMetError(f"subject {self.name!r} has no way to train its models. {ONE_FUNCTION}.")
        return LoopTrainer(self.train_model, self.make_model(), len(split), device)


def as_function(model: nn.Module | Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """The function itself, or one that copies a module."""
    from torch import nn

    if isinstance(model, nn.Module):
        from trak_core.training.names import unwrapped

        module = unwrapped(model)
        return lambda: copy.deepcopy(module)
    if not callable(model):
        raise InvalidSettingError(
            f"make_model is a {type(model).__name__}; give a function that returns an nn.Module, or a module."
        )
    return model


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
    # why a run of it cannot be trained or asked again here, after "run 'mine' ..."; None where nothing can stand
    # against that
    why_not_here: Callable[[], str | None] | None = field(default=None, hash=False)
    # how new examples are read, where the recipe does that in its own way; None for that of its modality
    new_inputs: NewInputReader | None = field(default=None, hash=False)
