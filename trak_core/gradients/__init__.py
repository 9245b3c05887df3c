"""Per-example gradients of the model output, for any model."""

from trak_core.gradients.computer import BatchGradients, GradientComputer, GradientPath, Precision
from trak_core.gradients.forward import Inputs, StateDict, count, prepared, run_model, take, to_device
from trak_core.gradients.layer_gradients import ExplicitGradients, LayerGradients, OuterProducts, TableRows, form
from trak_core.gradients.layers import Layer, find_layers, n_parameters
from trak_core.gradients.packed import PackedRows
from trak_core.gradients.representations import representations

__all__ = [
    "BatchGradients",
    "ExplicitGradients",
    "GradientComputer",
    "GradientPath",
    "Inputs",
    "Layer",
    "LayerGradients",
    "OuterProducts",
    "PackedRows",
    "Precision",
    "StateDict",
    "TableRows",
    "count",
    "find_layers",
    "form",
    "n_parameters",
    "prepared",
    "representations",
    "run_model",
    "take",
    "to_device",
]
