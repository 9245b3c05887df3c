"""Chooses how an attribution is computed, and says so."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from trak_core.engine.options import Options
from trak_core.errors import AttributionWarning, OutOfMemoryError
from trak_core.gradients import GradientComputer, GradientPath, Layer, n_parameters
from trak_core.projection import ProjectionKind, WholeMap
from trak_core.store.schema import MAX_ARRAY

EXACT_LIMIT = 5000
"""Train examples up to which the exact kernel is cheaper than a projection and better."""
BATCH_SHARE = 4
"""One part in so many of the memory budget is for what a batch takes at work."""
USUAL_PROJ_DIM = 2048
MIN_USEFUL_PROJ_DIM = 32


@dataclass(frozen=True)
class Plan:
    """How an attribution is computed."""

    parameters: str  # which of the model's parameters are differentiated
    gradients: GradientPath  # the way to compute gradients
    gradients_reason: str  # why that way
    projection: ProjectionKind  # the kind of projection
    proj_dim: int | None  # dimension of projected gradients; None without a projection
    projection_reason: str  # why these
    batch_size: int  # examples at once
    memory_budget: int  # bytes

    def __str__(self) -> str:
        kind = self.projection if self.proj_dim is None else f"{self.projection}, proj_dim {self.proj_dim}"
        return (
            f"parameters: {self.parameters}; gradients: {self.gradients} ({self.gradients_reason}); "
            f"projection: {kind} ({self.projection_reason}); batches of {self.batch_size}"
        )

    def check_kernel(self, n_train: int, itemsize: int) -> None:
        """Refuses a kernel that does not fit into the memory budget; `itemsize` is bytes of a number of the features.

        Raises:
            OutOfMemoryError: it does not.
        """
        if self.proj_dim is None or n_train <= self.proj_dim:
            side, size = f"{n_train:,} train examples", 3 * itemsize * n_train**2
        else:
            side, size = f"proj_dim={self.proj_dim:,}", 3 * 8 * self.proj_dim**2
        if size > self.memory_budget:
            raise OutOfMemoryError(
                f"the kernel of {side} and its factor take {size / 1e6:,.0f} MB, more than "
                f"memory_budget={self.memory_budget:,}. Use a smaller proj_dim ({USUAL_PROJ_DIM} is usual), or raise "
                "the budget."
            )


def choose_plan(options: Options, computer: GradientComputer, n_train: int | None, batch_size: int) -> Plan:
    """The plan for a model and data; `computer` has chosen its way, `n_train` is None where only reading will tell."""
    plan = _plan(options, computer, batch_size, *_projection(options, computer, n_train))
    if n_train is not None:
        plan.check_kernel(n_train, options.dtype.itemsize)  # before hours of gradients rather than after
    return plan


def plan_for_method(options: Options, computer: GradientComputer, batch_size: int, method: str) -> Plan:
    """The plan for a method that sees the examples themselves; arguments as in `choose_plan`."""
    if options.proj_dim is None:
        return _plan(options, computer, batch_size, "none", None, f"method {method} takes gradients as it needs them")
    return _plan(options, computer, batch_size, "sjlt", options.proj_dim, "asked for")


def _plan(
    options: Options,
    computer: GradientComputer,
    batch_size: int,
    projection: ProjectionKind,
    proj_dim: int | None,
    reason: str,
) -> Plan:
    assert computer.path is not None  # chosen before
    size = n_parameters(computer.layers)
    if proj_dim is not None:
        _check_proj_dim(proj_dim, size)
    formed = size if computer.path != "hooks" or projection == "none" else _formed_by_hooks(computer.layers)
    fitting = max(1, options.memory_budget // BATCH_SHARE // (3 * formed * options.dtype.itemsize))
    return Plan(
        parameters=_parameters(options, computer),
        gradients=computer.path,
        gradients_reason=computer.reason,
        projection=projection,
        proj_dim=proj_dim,
        projection_reason=reason,
        batch_size=min(options.batch_size or batch_size, fitting),
        memory_budget=options.memory_budget,
    )


def _parameters(options: Options, computer: GradientComputer) -> str:
    """Which parameters are differentiated, and a warning where the model leaves that open."""
    every = [(value.numel(), value.requires_grad) for value in computer.model.parameters()]
    total, chosen = sum(size for size, _ in every), n_parameters(computer.layers)
    if options.parameters is not None:
        return f"{chosen:,} of {total:,}, chosen by name"
    if not any(requires_grad for _, requires_grad in every):
        warnings.warn(
            f"none of the model's {total:,} parameters requires gradients, so all of them are differentiated. Say "
            "which were trained: parameters='*' for all of them, or a pattern such as 'head*'.",
            AttributionWarning,
            stacklevel=6,
        )
        return f"all {total:,}, none of which requires gradients"
    return f"all {total:,}" if chosen == total else f"of {total:,} parameters {chosen:,} require gradients"


def _formed_by_hooks(layers: Sequence[Layer]) -> int:
    """Numbers of an example's gradient that lie in memory at once: blocks of matrices, and whole all others."""
    matrices = n_parameters([layer for layer in layers if layer.kind != "vector"])
    return min(matrices, 2**18) + n_parameters([layer for layer in layers if layer.kind == "vector"])


def _projection(
    options: Options, computer: GradientComputer, n_train: int | None
) -> tuple[ProjectionKind, int | None, str]:
    size = n_parameters(computer.layers)
    usual = min(USUAL_PROJ_DIM, size)
    if options.projection == "none":
        return "none", None, "asked for"
    if options.projection != "auto":
        kind: ProjectionKind = options.projection  # type: ignore[assignment]
        return kind, options.proj_dim or usual, "asked for"
    if options.proj_dim is not None:
        return "sjlt", options.proj_dim, "the fastest for a given proj_dim"
    if n_train is None:
        return "sjlt", usual, "the number of train examples is not known beforehand"
    if n_train > EXACT_LIMIT:
        return "sjlt", usual, f"more than {EXACT_LIMIT:,} train examples"
    width = WholeMap(computer.layers, computer.factored).width
    taken = options.dtype.itemsize * n_train * (3 * n_train + width)
    if width > MAX_ARRAY or taken > options.memory_budget:
        return "sjlt", usual, f"whole gradients of {width:,} numbers are too long to keep"
    return "none", None, f"the exact kernel is cheap for {n_train:,} train examples and has no projection noise"


def _check_proj_dim(proj_dim: int, size: int) -> None:
    if proj_dim > size:
        message = (
            f"proj_dim={proj_dim} is larger than the {size} parameters that are projected, which costs time and adds "
            f"noise; use projection='none' or a proj_dim well below {size}."
        )
    elif proj_dim < min(MIN_USEFUL_PROJ_DIM, size):
        message = (
            f"proj_dim={proj_dim}: inner products of gradients then err by about 1 / sqrt({proj_dim}) = "
            f"{proj_dim**-0.5:.0%} of their norms; use {MIN_USEFUL_PROJ_DIM} or more, 512 is a good start."
        )
    else:
        return
    warnings.warn(message, AttributionWarning, stacklevel=6)
