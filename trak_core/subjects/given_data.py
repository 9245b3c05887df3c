"""Data, checkpoints and code that somebody gave a `Subject` from Python, brought into form and checked."""

import hashlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from trak_core.errors import (
    CheckpointMismatchError,
    InvalidDataError,
    InvalidModelError,
    InvalidSettingError,
    LabelError,
    ShapeMismatchError,
    TrakCoreError,
    in_words,
    running_own_code,
)
from trak_core.inputs import in_numbers, leaves, take
from trak_core.media import first_picture
from trak_core.modalities import Dataset, Split, seen_in
from trak_core.subjects.batches import Batch, read_data
from trak_core.subjects.reading import Reading
from trak_core.tasks import Inputs, Task, at_weights
from trak_core.tasks.ragged import IGNORED, cut_to, joined, same_length
from trak_core.training.ensemble import StateDict, make_models
from trak_core.training.states import expected_shapes, is_finite
from trak_core.training.weights import Checkpoint, Checkpoints

N_TRIED = 4
MOST_SHOWN = 12
"""Numbers of an example that a text of them shows."""
Pictures = tuple[Sequence[bytes], Sequence[bytes]]
Texts = tuple[Sequence[str], Sequence[str]]


def given_dataset(
    title: str,
    train: Any,
    test: Any,
    task: Task,
    make_model: Callable[[], nn.Module],
    class_names: Sequence[str] | None,
    texts: Texts | None,
    pictures: Pictures | None,
    modality: str | None,
) -> Dataset:
    """The data set of a subject; arguments and errors are those of `Subject`."""
    given = (("train", train), ("test", test))
    batches = _of_one_length({what: read_examples(source, what, Reading(task)) for what, source in given})
    if (train_form := _form(batches["train"].inputs)) != (test_form := _form(batches["test"].inputs)):
        raise ShapeMismatchError(f"train inputs are {train_form}, and test inputs are {test_form}; give both alike.")
    n_outputs = _try_model(make_model, task, batches)
    names = names_of_outputs(class_names, n_outputs) if n_outputs else ()
    of_each = zip(batches.items(), texts or (None, None), pictures or (None, None), strict=True)
    shown = {split: _shown(batch, split, of_texts, of_pictures) for (split, batch), of_texts, of_pictures in of_each}
    has_pictures = all(of_split["thumbnails"] is not None for of_split in shown.values())
    if modality is None:
        modality = "image" if has_pictures else "text" if texts is not None else "numbers"

    def split(name: str) -> Split:
        batch = batches[name]
        assert batch.labels is not None  # checked when read
        inputs = tree_map(lambda leaf: np.ascontiguousarray(leaf.numpy()), batch.inputs)
        return Split(inputs, np.ascontiguousarray(batch.labels.numpy()), **shown[name])

    return Dataset(title, modality, names, split("train"), split("test"))


def read_examples(source: Any, what: str, reading: Reading | None = None) -> Batch:
    """All examples of a source in one batch on the CPU, floating-point numbers in float32."""
    data = read_data(source, what, reading=reading)
    data.first()  # refuses a loader that gives other examples each time
    parts = list(data.batches())
    if any(part.labels is None for part in parts):
        raise InvalidDataError(f"{what} has no labels; a subject needs the label of every example.")
    inputs = same_length([part.inputs for part in parts])
    forms = {_form(part) for part in inputs}
    if len(forms) > 1:
        raise ShapeMismatchError(
            f"the inputs of {what} come in several shapes ({', '.join(sorted(forms)[:3])}); give all one shape, texts "
            "padded to one length."
        )
    whole = tree_map(lambda *same: _plain(torch.cat(same)), *inputs)
    return Batch(whole, _plain(joined([part.labels for part in parts if part.labels is not None], IGNORED)))


def _of_one_length(batches: dict[str, Batch]) -> dict[str, Batch]:
    """The splits with masked texts filled up to the longest of all."""
    inputs = same_length([batch.inputs for batch in batches.values()])
    longest = max(
        (batch.labels for batch in batches.values() if batch.labels is not None), key=lambda each: each[0].numel()
    )
    each = zip(batches.items(), inputs, strict=True)
    return {
        what: Batch(filled, cut_to(batch.labels, longest)) for (what, batch), filled in each if batch.labels is not None
    }


def _plain(values: Tensor) -> Tensor:
    values = values.detach().cpu()
    return values.float() if values.is_floating_point() else values


def _form(inputs: Inputs) -> str:
    """The kind and the shape of one example, in words."""

    def of(leaf: Tensor) -> str:
        return f"{str(leaf.dtype).removeprefix('torch.')} {list(leaf.shape[1:])}"

    if isinstance(inputs, dict):
        return "{" + ", ".join(f"{name}: {of(leaf)}" for name, leaf in sorted(inputs.items())) + "}"
    return f"({', '.join(map(of, inputs))})" if isinstance(inputs, tuple) else of(inputs)


def _try_model(make_model: Callable[[], nn.Module], task: Task, batches: dict[str, Batch]) -> int:
    """Number of classes that the model tells apart, 0 where the task has none; refuses a model that cannot be asked."""
    with running_own_code("make_model()", InvalidModelError):
        model = make_models(make_model, [0])[0]
    if not isinstance(model, nn.Module):
        raise InvalidModelError(f"make_model() returns a {type(model).__name__}; it must return an nn.Module.")
    few, labels = take(batches["train"].inputs, slice(N_TRIED)), batches["train"].labels
    assert labels is not None
    try:
        with torch.no_grad():
            outputs = task.outputs_of(at_weights(model.eval(), dict(model.state_dict())), few)
    except TrakCoreError:
        raise
    except Exception as error:
        raise InvalidModelError(
            f"the model fails on {N_TRIED} train examples, {_form(few)} each ({in_words(error)}); give inputs as its "
            "forward takes them: a tensor, a tuple of arguments, or a dict of keyword arguments."
        ) from error
    task.check(outputs, labels[:N_TRIED])
    for what, batch in batches.items():
        _check_finite(model, task, what, batch)
    if not task.has_classes:
        return 0
    for what, batch in batches.items():
        assert batch.labels is not None
        try:
            task.check(torch.zeros(len(batch), outputs.shape[-1]), batch.labels)
        except LabelError as error:
            raise LabelError(f"{what}: {error}") from error
    return int(outputs.shape[-1])


def _check_finite(model: nn.Module, task: Task, what: str, batch: Batch) -> None:
    """Refuses inputs that hold NaN or infinity and that the model makes no finite outputs of; some take such inputs."""
    odd = torch.zeros(len(batch), dtype=torch.bool)
    for leaf in leaves(batch.inputs):
        odd |= ~leaf.flatten(1).isfinite().all(1) if leaf.dim() > 1 else ~leaf.isfinite()
    numbers = odd.nonzero()[:64, 0]
    if not len(numbers):
        return
    with torch.no_grad():
        outputs = task.outputs_of(model, take(batch.inputs, numbers))
    wrong = ~outputs.reshape(len(outputs), -1).isfinite().all(1)
    if wrong.any():
        raise InvalidDataError(
            f"{what} example {int(numbers[wrong][0])} has NaN or infinity in its inputs, as {int(odd.sum()):,} of "
            f"{len(batch):,} have, and the model gives no finite output for it; fill these values, or remove such "
            "examples."
        )


def names_of_outputs(given: Sequence[str] | None, n_outputs: int) -> tuple[str, ...]:
    """A name for each model output that can be explained: those given, or numbers from 0; refuses doubles."""
    if isinstance(given, str):
        raise InvalidSettingError(f"class_names={given!r}; give a list of names.")
    names = tuple(map(str, range(n_outputs) if given is None else given))
    if len(names) != n_outputs or len(set(names)) != n_outputs:
        raise InvalidSettingError(
            f"class_names holds {len(names)} names, {len(set(names))} of them different, but the model has {n_outputs} "
            "outputs to explain; give each a name of its own."
        )
    return names


def _shown(
    batch: Batch, split: str, texts: Sequence[str] | None, pictures: Sequence[bytes] | None
) -> dict[str, list[Any] | None]:
    """What people see of the examples of a split: pictures or texts that were given, or what the inputs make."""
    for what, given in (("texts", texts), ("thumbnails", pictures)):
        if given is not None and len(given) != len(batch):
            raise InvalidDataError(
                f"{what} hold {len(given)} entries for {len(batch)} {split} examples; give one each."
            )
    made = list(pictures) if pictures is not None else [] if texts is not None else pictures_of(batch)
    is_picture = bool(made) and all(one is not None for one in made)
    if texts is None and not is_picture:
        texts = _in_numbers(batch, split)
    return {"thumbnails": made if is_picture else None, "texts": None if texts is None else list(map(str, texts))}


def pictures_of(batch: Batch) -> list[bytes | None]:
    """The first picture of what the inputs look like; None where nothing knows what they look like."""
    return [first_picture(media) for media in seen_in(batch.inputs) or [()] * len(batch)]


def _in_numbers(batch: Batch, split: str) -> list[str]:
    """A text of each example: its numbers, where these are few."""
    if isinstance(batch.inputs, Tensor) and batch.inputs.dim() == 2 and batch.inputs.shape[1] <= MOST_SHOWN:
        return [in_numbers(row) for row in batch.inputs]
    return [f"{split} example {i}" for i in range(len(batch))]


def given_checkpoints(given: Sequence[Checkpoint] | None, make_model: Callable[[], nn.Module]) -> tuple[StateDict, ...]:
    """The checkpoints of a subject as state dicts; arguments and errors are those of `Subject`."""
    if given is None:
        return ()
    architecture = make_model()
    read = Checkpoints(architecture, given, torch.device("cpu"), torch.float32)
    states = [{name: read.weights(i)[name] for name in expected_shapes(architecture)} for i in range(len(read))]
    for i, state in enumerate(states):
        if not is_finite(state, architecture):
            raise CheckpointMismatchError(
                f"checkpoint {i} holds weights that are not finite; give one that trained well."
            )
    return tuple(states)


def code_sources(**functions: Any) -> dict[str, str]:
    """SHA-256 (hex) of the source of functions by name; those whose source cannot be read are left out."""
    digests = {}
    for name, function in functions.items():
        try:
            source = inspect.getsource(function if inspect.isroutine(function) else type(function))
        except (OSError, TypeError):
            continue  # typed at a prompt, or written in C
        digests[name] = hashlib.sha256(source.encode()).hexdigest()
    return digests
