"""Slow and plain references that the fast code is compared with."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from trak_core.tasks import Classification


def loop_gradients(model: nn.Module, parameters: dict[str, Tensor], inputs: Tensor, asked: Tensor) -> Tensor:
    """Gradients of the margin `[n, n_parameters]`, one example and one backward pass at a time."""
    rows = []
    for one_input, one_asked in zip(inputs, asked, strict=True):
        weights = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
        probabilities = functional_call(model, weights, (one_input[None],))[0].softmax(-1)
        margin = torch.log(probabilities[one_asked] / (1 - probabilities[one_asked]))
        gradients = torch.autograd.grad(margin, list(weights.values()))
        rows.append(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    return torch.stack(rows)


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
