"""Slow and plain references that the fast code is compared with."""

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from trak_core.curvature import EkfacFactors
from trak_core.gradients import Inputs, count, take
from trak_core.tasks import Classification, Task


def loop_gradients(model: nn.Module, parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
    """Gradients of the margin `[n, n_parameters]`, one example and one backward pass at a time."""
    rows = []
    for one_input, one_target in zip(inputs, targets, strict=True):
        weights = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
        probabilities = functional_call(model, weights, (one_input[None],))[0].softmax(-1)
        margin = torch.log(probabilities[one_target] / (1 - probabilities[one_target]))
        gradients = torch.autograd.grad(margin, list(weights.values()))
        rows.append(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    return torch.stack(rows)


def backward_gradients(model: nn.Module, task: Task, inputs: Inputs, targets: Tensor) -> dict[str, Tensor]:
    """Gradients of the model output by module `[n, size]`: each example has a forward and a `backward` of its own.

    A Linear or Conv layer is a matrix with a row for each output and the bias as its last column, rows one after
    another; all other modules have their weight first, then their bias. Shared parameters belong to their first module.
    """
    model = copy.deepcopy(model).eval().requires_grad_()
    examples: list[dict[str, Tensor]] = []
    for i in range(count(inputs)):
        model.zero_grad()
        one = take(inputs, slice(i, i + 1))
        outputs = model(**one) if isinstance(one, dict) else model(*one) if isinstance(one, tuple) else model(one)
        outputs = outputs if isinstance(outputs, Tensor) else outputs.logits
        task.model_output(outputs, targets[i : i + 1]).sum().backward()
        examples.append(
            {
                name: torch.zeros_like(weight) if weight.grad is None else weight.grad.to_dense().clone()
                for name, weight in model.named_parameters()
            }
        )
    by_module: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        leaves = [leaf for leaf, _ in module.named_parameters(recurse=False) if _full(name, leaf) in examples[0]]
        rows = []
        for example in examples:
            given = {leaf: example[_full(name, leaf)] for leaf in leaves}
            turned = type(module).__name__ == "Conv1D"  # Hugging Face's Linear layer with its weight turned
            if turned:
                given["weight"] = given["weight"].T
            if (turned or isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)) and set(given) == {"weight", "bias"}:
                given = {"matrix": torch.cat([given["weight"].flatten(1), given["bias"][:, None]], dim=1)}
            rows.append([given[leaf].flatten() for leaf in sorted(given, key=lambda leaf: leaf != "weight")])
        if leaves:
            by_module[name] = torch.stack([torch.cat(row) for row in rows])
    return by_module


def _full(module: str, leaf: str) -> str:
    return f"{module}.{leaf}" if module else leaf


def plain_philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox-4x32-10 in Python's whole numbers, line by line from Salmon et al. 2011."""
    a, b, c, d = counter
    k, m = key
    for _ in range(10):
        left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (right >> 32) ^ b ^ k, right % 2**32, (left >> 32) ^ d ^ m, left % 2**32
        k, m = (k + 0x9E3779B9) % 2**32, (m + 0xBB67AE85) % 2**32
    return [a, b, c, d]


def dense_rademacher(proj_dim: int, seed: int, start: int, stop: int) -> Tensor:
    """Rows `start` to `stop` of P `[stop - start, proj_dim]`, sign by sign from the documented formula."""
    signs = torch.empty(stop - start, proj_dim, dtype=torch.float64)
    for j in range(start, stop):
        for first in range(0, proj_dim, 128):
            drawn = plain_philox([j % 2**32, j >> 32, first // 128, 0], [seed % 2**32, seed >> 32])
            for column in range(first, min(first + 128, proj_dim)):
                bit = drawn[(column % 128) // 32] >> (column % 32) & 1
                signs[j - start, column] = -1.0 if bit else 1.0
    return signs / math.sqrt(proj_dim)


def dense_sjlt(proj_dim: int, seed: int, n_copies: int, start: int, stop: int) -> Tensor:
    """Rows `start` to `stop` of P `[stop - start, proj_dim]`, copy by copy from the documented formula."""
    matrix = torch.zeros(stop - start, proj_dim, dtype=torch.float64)
    for j in range(start, stop):
        for copied in range(n_copies):
            call = j // 4
            word = plain_philox([call % 2**32, call >> 32, copied, 1], [seed % 2**32, seed >> 32])[j % 4]
            matrix[j - start, (word >> 1) * proj_dim // 2**31] += -1.0 if word & 1 else 1.0
    return matrix / math.sqrt(n_copies)


def primal_trak(
    train_gradients: list[np.ndarray], test_gradients: list[np.ndarray], q: np.ndarray, ridge: float
) -> np.ndarray:
    """TRAK in parameter space by a dense solve: mean of phi (Phi^T Phi + l I)^-1 Phi^T, times the mean of q."""
    total = 0.0
    for phi_train, phi_test in zip(train_gradients, test_gradients, strict=True):
        gram = phi_train.T @ phi_train
        ridged = gram + ridge * (phi_train**2).sum(1).mean() * np.eye(len(gram))
        total = total + phi_test @ np.linalg.solve(ridged, phi_train.T)
    return total / len(train_gradients) * q


def plain_spearman(left: list[float], right: list[float]) -> float:
    """Spearman correlation from its definition, ties sharing their mean rank."""

    def ranks(values: list[float]) -> list[float]:
        return [
            sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
            for value in values
        ]

    a, b = ranks(left), ranks(right)
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    covariance = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    spread = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
    return covariance / math.sqrt(spread) if spread else float("nan")


def sgd_by_hand(
    model: nn.Module,
    task: Classification,
    inputs: Tensor,
    labels: Tensor,
    batches: list[list[Tensor]],
    learning_rate: float,
    momentum: float,
    weight_decay: float,
) -> nn.Module:
    """One model trained with `torch.optim.SGD` on the given batches, the learning rate falling linearly to zero."""
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=momentum, weight_decay=weight_decay)
    n_steps = sum(len(epoch) for epoch in batches)
    step = 0
    for epoch in batches:
        for batch in epoch:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (1 - step / n_steps)
            optimizer.zero_grad()
            task.loss(model(inputs[batch]), labels[batch]).mean().backward()
            optimizer.step()
            step += 1
    return model


def ekfac_applied(factors: EkfacFactors, rows: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """`F(H) g` for rows of gradients `[n, n_parameters]`, in the basis of the parameters before and after."""
    return factors.rotate_back(factors.filter(factors.rotate_rows(rows), function))
