"""Tries a model on a few examples before anything is trained, so that a build does not fail half way."""

from collections.abc import Callable

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import grad, vmap

from trak_core.errors import InvalidModelError, InvalidSettingError, NoLogitsError, TrakCoreError, in_words
from trak_core.inputs import ArrayInputs, as_tensors, leaves, take
from trak_core.subjects.models_by_name import OWN_SCRIPT
from trak_core.tasks import Inputs, Task, at_weights, n_words, prepared
from trak_core.training.ensemble import Ensemble, chance_of, make_models

N_TRIED = 4
MODELS_AT_ONCE = 20
"""Models that a build trains together, about."""
COPIES = 3
"""Of each weight while a model trains: itself, its gradient, its velocity."""


def try_model(
    name: str,
    make_model: Callable[[], nn.Module],
    inputs: ArrayInputs,
    labels: NDArray[np.int64],
    n_classes: int,
    task: Task,
) -> None:
    """Trains two models for one step on the first few train examples and asks for their gradients; gives nothing.

    Raises:
        CheckpointMismatchError: weights to begin from do not fit.
        InvalidModelError: the model cannot be trained or attributed here; the message says what to do.
    """
    model = make_models(make_model, [0])[0].eval()
    few, targets = as_tensors(take(inputs, slice(N_TRIED))), torch.from_numpy(labels[:N_TRIED])
    _check_parts(name, model)
    _check_size(name, model)
    outputs = _forward(name, model, task, few)
    if task.has_classes and outputs.shape != (len(targets), n_classes):
        raise InvalidModelError(
            f"model={name!r} gives an output of shape {tuple(outputs.shape)} for {len(targets)} examples; it must give "
            f"logits [n, n_classes], which is {(len(targets), n_classes)} here."
        )
    ready = prepared(task, model, dict(model.state_dict()))
    ready.check(outputs, targets)
    _trace(ready, outputs, targets)
    _check_seeds(name, model, make_model)
    _step(name, model, task, few, targets)
    _gradients(name, model, task, few, targets)


def _check_parts(name: str, model: nn.Module) -> None:
    if chance := chance_of(model):
        raise InvalidModelError(
            f"model={name!r} has {', '.join(chance)}: what it says of one example would depend on others or on chance, "
            f"so that no build trains it; use GroupNorm and leave dropout out, {OWN_SCRIPT}."
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InvalidModelError(f"model={name!r} has no parameters that can be trained; nothing could be attributed.")
    if frozen := [key for key, parameter in model.named_parameters() if not parameter.requires_grad]:
        raise InvalidModelError(
            f"model={name!r} keeps {len(frozen)} of its parameters fixed (the first is {frozen[0]}), and a build "
            f"trains all of them; let all be trained, {OWN_SCRIPT}."
        )
    if types := {str(each.dtype) for each in model.parameters()} - {"torch.float32"}:
        raise InvalidModelError(f"model={name!r} has parameters in {', '.join(types)}; a build trains float32.")


def _check_size(name: str, model: nn.Module) -> None:
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    needed = 4 * COPIES * MODELS_AT_ONCE * n_parameters
    there = psutil.virtual_memory().total
    if torch.cuda.is_available():
        there = max(there, torch.cuda.get_device_properties(0).total_memory)
    if needed > there:
        raise InvalidModelError(
            f"model={name!r} has {n_parameters:,} parameters; a build trains {MODELS_AT_ONCE} models at once, which "
            f"takes {needed / 2**30:,.0f} GiB of memory where {there / 2**30:,.0f} GiB are: take a smaller one, "
            f"{OWN_SCRIPT}."
        )


def _forward(name: str, model: nn.Module, task: Task, inputs: Inputs) -> Tensor:
    kept = {key: value.clone() for key, value in model.named_buffers()}
    try:
        with torch.no_grad():
            outputs = task.outputs_of(model, inputs)
    except NoLogitsError as error:
        raise InvalidModelError(f"model={name!r}: {error}") from error
    except Exception as error:
        forms = " and ".join(
            f"of shape {tuple(leaf.shape)} in {str(leaf.dtype).removeprefix('torch.')}" for leaf in leaves(inputs)
        )
        raise InvalidModelError(
            f"model={name!r} cannot take inputs {forms} ({in_words(error)}); take a model that can, or read images in "
            "another size."
        ) from error
    if changed := [key for key, value in model.named_buffers() if not torch.equal(value, kept[key])]:
        raise InvalidModelError(
            f"model={name!r} changes its buffer {changed[0]} when it is asked, so that its answers depend on what it "
            f"was asked before; take that out, {OWN_SCRIPT}."
        )
    return outputs


def _check_seeds(name: str, model: nn.Module, make_model: Callable[[], nn.Module]) -> None:
    again = dict(make_models(make_model, [0])[0].named_parameters())
    if other := [key for key, value in model.named_parameters() if not torch.equal(value, again[key])]:
        raise InvalidModelError(
            f"model={name!r} begins with other weights each time from one seed (the first is {other[0]}), so that no "
            "model could be trained again; draw them with torch's own generator."
        )


def _trace(task: Task, outputs: Tensor, targets: Tensor) -> None:
    for what, function in {"model_output": task.model_output, "loss": task.loss}.items():
        try:
            vmap(grad(lambda one, of, function=function: function(one[None], of[None])[0]))(outputs, targets)
        except TrakCoreError:
            raise
        except Exception as error:
            raise InvalidSettingError(
                f"{what} of task {task.name!r} cannot be traced by torch.func.vmap ({in_words(error)}); write it with "
                "torch operations that look at no values, without .item(), `if` on numbers or one_hot."
            ) from error


def _step(name: str, model: nn.Module, task: Task, inputs: Inputs, targets: Tensor) -> None:
    ensemble = Ensemble.from_models([model, model], "cpu")

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return task.loss(task.outputs_of(at_weights(model, parameters), inputs), targets).mean()

    try:
        vmap(grad(loss))(ensemble.parameters)
        ensemble.outputs(task, inputs)
    except Exception as error:
        raise InvalidModelError(
            f"model={name!r} works by itself, but torch.func.vmap cannot train several at once by the loss of "
            f"task {task.name!r} ({in_words(error)}), as a build does; change what it names, {OWN_SCRIPT}."
        ) from error


def _gradients(name: str, model: nn.Module, task: Task, inputs: Inputs, targets: Tensor) -> None:
    from trak_core.methods import GradientRows

    weights = {key: value.detach() for key, value in model.named_parameters()}
    try:
        GradientRows(model, task, weights, inputs, targets).whole(weights, inputs, targets)
    except TrakCoreError as error:
        raise InvalidModelError(f"model={name!r} cannot be attributed: {error}") from error
    except Exception as error:
        raise InvalidModelError(
            f"model={name!r} trains, but the gradients of single examples cannot be computed ({in_words(error)}); "
            "take another model."
        ) from error


def try_tokens(name: str, model: nn.Module, inputs: ArrayInputs) -> None:
    """Refuses a language model whose tokenizer gives ids that it has no embedding for.

    Raises:
        InvalidModelError: it is so.
    """
    n_known = n_words(model)
    highest = max((int(part.max()) for part in leaves(inputs) if part.dtype.kind in "iu" and part.size), default=0)
    if n_known is not None and highest >= n_known:
        raise InvalidModelError(
            f"model={name!r} knows {n_known:,} tokens, and its tokenizer gives the id {highest:,}: the "
            "tokenizer belongs to another model. Save the model's own beside it by tokenizer.save_pretrained(FOLDER)."
        )
