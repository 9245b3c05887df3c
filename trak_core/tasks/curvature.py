"""The curvature of a loss in the outputs of a model, as a sum of squares that gradients can be taken of.

With z the outputs for an example and H the Hessian of its loss in them, the Gauss-Newton matrix of the example is
`J^T H J`, J the derivative of z in the parameters (Schraudolph 2002). Written as a sum over parts,

    J^T H J = sum over parts of scale^2 grad g grad g^T

each part is the gradient of one number g an example, so that whatever computes gradients of model outputs computes the
curvature too. With `H = sum over k of s_k v_k v_k^T` the parts are `g_k = <v_k, z>` with `scale^2 = s_k`; a task with
classes or tokens has parts that cost less (see `Classification.curvature`).

A sum over all parts is exact. Where that is too much, a few parts are drawn in proportion to their share, each weighed
so that the expectation is the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import grad, hessian, jvp, vmap

if TYPE_CHECKING:
    from trak_core.tasks.task import Task


@dataclass(frozen=True)
class CurvaturePart:
    """One part of the curvature of n examples."""

    task: "Task"  # whose model output g is differentiated
    target: Tensor  # what it is asked for `[n, ...]`
    scale: Tensor  # factors of the gradients `[n]`


def draw_parts(shares: Tensor, draws: int | None, uniform: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Which part of each example comes next, int64 `[n]`, and the factors of its gradient `[n]`.

    Args:
        shares: `scale^2` of every part of each example `[n, n_parts]`, 0 or more.
        draws: how many parts to draw; None gives every part.
        uniform: random numbers from 0 to 1 `[n]` that decide on draws; further ones are spread evenly after the first,
            so that they see different parts.
    """
    n, n_parts = shares.shape
    if draws is None:
        for part in range(n_parts):
            yield torch.full((n,), part, device=shares.device), shares[:, part].sqrt()
        return
    assert uniform is not None  # drawn by whoever asks for draws
    cumulated = shares.cumsum(1)
    total = cumulated[:, -1:]
    for j in range(draws):
        places = (uniform.to(shares)[:, None] + j) / draws * total
        yield (cumulated <= places).sum(1).clamp(max=n_parts - 1), (total[:, 0] / draws).sqrt()


def spectrum(task: "Task", outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of the Hessian of the loss of each of n examples in its outputs, in float64.

    Directions in which the loss curves downwards get the value 0: without them the matrix has no negative part. Values
    are `[n, n_outputs]`, vectors `[n, n_outputs, n_outputs]`, one a column.
    """

    def loss(one: Tensor, of: Tensor) -> Tensor:
        return task.loss(one[None], of[None])[0]

    n, n_outputs = len(outputs), outputs[0].numel()
    hessians = vmap(hessian(loss))(outputs, target).reshape(n, n_outputs, n_outputs)
    values, vectors = torch.linalg.eigh(hessians.double())
    return values.clamp_min(0), vectors


def hessian_product(task: "Task", outputs: Tensor, target: Tensor, vectors: Tensor) -> Tensor:
    """The Hessian of the loss in the outputs times vectors of their shape, without forming it.

    For tasks with wide outputs and a loss that curves nowhere downwards in them.
    """
    gradient = grad(lambda given: task.loss(given, target).sum())
    return jvp(gradient, (outputs,), (vectors,))[1]  # type: ignore[no-any-return]
