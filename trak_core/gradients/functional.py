"""Per-example gradients for any model that `torch.func.vmap` can trace: `vmap(grad(f))`."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from trak_core.tasks import Classification

__all__ = ["per_example_gradients"]


def per_example_gradients(
    model: nn.Module, parameters: dict[str, Tensor], task: Classification, inputs: Tensor, asked: Tensor
) -> Tensor:
    """Gradients of the model output of each example with respect to all parameters.

    Args:
        model: supplies the forward pass.
        parameters: name to tensor, the weights at which to differentiate.
        task: supplies the model output f.
        inputs: `[n, ...]`.
        asked: `[n]` int64, the class asked about of each example.

    Returns:
        `[n, n_parameters]` in the dtype of the parameters; columns follow the order of `parameters`, each
        flattened in row-major order.
    """

    def model_output(weights: dict[str, Tensor], one_input: Tensor, one_asked: Tensor) -> Tensor:
        logits = functional_call(model, weights, (one_input[None],))
        return task.model_output(logits[0], one_asked)

    gradients = vmap(grad(model_output), in_dims=(None, 0, 0))(parameters, inputs, asked)
    return torch.cat([gradients[name].reshape(len(inputs), -1) for name in parameters], dim=1)
