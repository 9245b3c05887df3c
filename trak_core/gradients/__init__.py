"""Per-example gradients of the model output, for any model."""

from trak_core.gradients.by_token import Direction, TokenContributions
from trak_core.gradients.computer import BatchGradients, GradientComputer, GradientPath, Precision
from trak_core.gradients.forward import StateDict, representations, run_model
from trak_core.gradients.layer_gradients import (
    ExplicitGradients,
    LayerGradients,
    OuterProducts,
    SummedGradients,
    TableRows,
    form,
)
from trak_core.gradients.layers import Layer, find_layers, is_linear, is_matrix, n_parameters
from trak_core.inputs import count, take, to_device
from trak_core.tasks import Inputs, prepared

__all__ = [
    "BatchGradients",
    "Direction",
    "ExplicitGradients",
    "GradientComputer",
    "GradientPath",
    "Inputs",
    "Layer",
    "LayerGradients",
    "OuterProducts",
    "Precision",
    "StateDict",
    "SummedGradients",
    "TableRows",
    "TokenContributions",
    "count",
    "find_layers",
    "form",
    "is_linear",
    "is_matrix",
    "n_parameters",
    "prepared",
    "representations",
    "run_model",
    "take",
    "to_device",
]
