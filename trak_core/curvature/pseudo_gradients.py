"""Gradients whose squares add up to the Gauss-Newton matrix of the loss, batch by batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trak_core.errors import NonFiniteGradientError
from trak_core.gradients import GradientComputer, Inputs, LayerGradients, StateDict, count, take
from trak_core.seeds import derive_seed


@dataclass(frozen=True)
class PseudoGradients:
    """Gradients of one part of the curvature of n examples."""

    layers: Sequence[LayerGradients]  # gradients, layer by layer
    scale: Tensor  # factors `[n]`
    is_first: bool  # False where the same examples came before with other parts, and so with the same activations


def pseudo_gradients(
    computer: GradientComputer,
    weights: Sequence[StateDict],
    inputs: Inputs,
    seed: int,
    draws: int | None,
    batch_size: int = 512,
    targets: Tensor | None = None,
) -> Iterator[PseudoGradients]:
    """For every example and checkpoint, gradients whose `scale^2 g g^T` add up to its curvature.

    Arguments and errors are those of `fit_ekfac`.
    """
    n = count(inputs)
    for i, state in enumerate(weights):
        ready = computer.prepared(state)
        generator = torch.Generator().manual_seed(derive_seed(seed, i))
        uniform = torch.rand(n, generator=generator, dtype=torch.float64)
        for start in range(0, n, batch_size):
            where = slice(start, min(n, start + batch_size))
            batch = take(inputs, where)
            outputs = ready.outputs(state, batch)
            if not outputs.isfinite().all():
                raise NonFiniteGradientError(
                    f"the model's outputs at checkpoint {i} are not finite for examples {start} to "
                    f"{where.stop - 1}, so there is no curvature to fit; leave the checkpoint out, or use "
                    "precision='float64'."
                )
            target = None if targets is None else targets[where]
            for j, part in enumerate(ready.task.curvature(outputs, target, draws, uniform[where])):
                gradients = ready.with_task(part.task).compute(state, batch, part.target)
                yield PseudoGradients(gradients.layers, part.scale, j == 0)
