"""Gradients of the model output by the fastest way that is right for a model, found out by trying.

The ways, fastest first: hooks, `vmap`, one example at a time. A way is taken only after its gradients of the first
examples were compared with plain autograd, one example alone: layers that run on something else than it seems, weights
that are used past their module, and models that mix the examples of a batch all show there.
"""

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten_with_path

from trak_core.errors import InvalidModelError, InvalidSettingError, TrakCoreError
from trak_core.gradients.by_token import Direction, TokenContributions, by_name, token_contributions
from trak_core.gradients.checkpointing import refusing_hidden_weights
from trak_core.gradients.forward import StateDict, run_model
from trak_core.gradients.functional import loop_gradients, vmap_gradients
from trak_core.gradients.hooks import HookedModules, Runs, hooked_gradients, with_runs
from trak_core.gradients.layer_gradients import LayerGradients, OuterProducts, form
from trak_core.gradients.layers import Layer
from trak_core.gradients.module_gradients import UnhookableError
from trak_core.inputs import count, leaves, take
from trak_core.tasks import Inputs, Task, held_by, prepared

logger = logging.getLogger(__name__)

GradientPath = Literal["hooks", "functional", "loop"]
Precision = Literal["float64", "float32", "bfloat16", "float16"]
WAYS: tuple[GradientPath, ...] = ("hooks", "functional", "loop")
Compute = Callable[..., tuple[Tensor, Sequence[LayerGradients]]]
STIR = 0.1
"""Size of the noise on the weights that a way is tried at, relative to them."""
PROBED = 3
"""Examples that a way is tried on."""
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
"""Largest relative difference to plain autograd; float32 leaves room for another order of summation."""
HALF_TOLERANCE = 0.1
"""The same where the model runs in half precision, which keeps two to three digits."""
ALONE = (
    "Statistics over the batch have no gradient for each example; use BatchNorm with track_running_stats=True, "
    "LayerNorm or GroupNorm."
)


@dataclass(frozen=True)
class BatchGradients:
    """Everything that one pass over a batch of n examples gives."""

    outputs: Tensor  # of the model `[n, ...]`
    model_output: Tensor  # f `[n]`
    q: Tensor  # weights `[n]`
    layers: Sequence[LayerGradients]  # gradients of f, layer by layer


class GradientComputer:
    """Computes gradients of the model output of one architecture at any weights.

    Args:
        model: supplies the forward pass; put into evaluation mode, so that dropout is off and BatchNorm uses its
            statistics.
        task: supplies the model output f.
        layers: what to differentiate with respect to.
        precision: float64 and float32 compute everything in that type; bfloat16 and float16 run the model in mixed
            precision and keep weights, gradients and features in float32.
    """

    def __init__(self, model: nn.Module, task: Task, layers: list[Layer], precision: Precision = "float32") -> None:
        self.model, self.task, self.layers, self.precision = model.eval(), task, layers, precision
        self.dtype = torch.float64 if precision == "float64" else torch.float32
        self.path: GradientPath | None = None
        self.reason = ""
        self.factored: frozenset[str] = frozenset()
        self._hooked_modules = HookedModules(model, layers)

    @property
    def _ways(self) -> dict[GradientPath, Compute]:
        hooks = partial(hooked_gradients, hooked=self._hooked_modules)
        return {"hooks": hooks, "functional": vmap_gradients, "loop": loop_gradients}

    @torch.inference_mode(False)  # what is made under it can have no gradients, not even later
    def choose(self, weights: StateDict, inputs: Inputs, targets: Tensor, wanted: str = "auto") -> None:
        """Chooses a way on the first examples of a batch; `path` and `reason` then tell which and why.

        Raises:
            InvalidModelError: the model gives other outputs each time, or mixes the examples of a batch.
            InvalidSettingError: the way that was asked for does not work for this model.
        """
        if wanted not in ("auto", *WAYS):
            raise InvalidSettingError(f"gradients={wanted!r}; it must be auto, {', '.join(WAYS)}.")
        tried = self.prepared(weights)
        tried._choose(weights, inputs, targets, wanted)
        self.path, self.reason, self.factored = tried.path, tried.reason, tried.factored
        self._hooked_modules = tried._hooked_modules

    def _choose(self, weights: StateDict, inputs: Inputs, targets: Tensor, wanted: str) -> None:
        # Fewer examples are repeated: what goes wrong between examples does not show on one.
        probed = torch.arange(PROBED) % count(inputs)
        inputs, targets = take(inputs, probed), targets[probed]
        self._check_model(weights, inputs, targets)
        self._hooked_modules = HookedModules(self.model, self.layers)
        # At zeros, as fresh heads and adapters have them, every way looks right: so a little beside them.
        weights = self._stirred(weights, inputs)
        expected = self._expected(weights, inputs, targets)
        reasons: list[str] = []
        tried = [way for way in WAYS[:-1] if wanted in ("auto", way)]
        for way in tried:
            reason = self._why_not(way, expected, weights, inputs, targets)
            if not reason:
                self._take(way, "; ".join(reasons) or "every selected layer allows it")
                self.factored = self._find_factored(weights, inputs, targets)
                return
            reasons.append(f"no {way}: {reason}")
        if wanted in tried:
            raise InvalidSettingError(
                f"gradients={wanted!r} does not work for this model ({reasons[0]}); use gradients='auto'."
            )
        self._take("loop", "; ".join(reasons) or "asked for")

    def compute(self, weights: StateDict, inputs: Inputs, targets: Tensor) -> BatchGradients:
        """Gradients of a batch, on the device of its tensors, at weights in the precision's type."""
        try:
            outputs, layers = self._gradients(self.path or "loop", weights, inputs, targets)
        except UnhookableError as error:
            logger.warning("a batch is computed one example at a time: %s", error)
            outputs, layers = self._gradients("loop", weights, inputs, targets)
        with torch.no_grad():
            model_output = self.task.model_output(outputs, targets)
            q = self.task.out_to_loss(outputs, targets)
        return BatchGradients(outputs, model_output, q, layers)

    def by_token(self, weights: StateDict, inputs: Inputs, targets: Tensor, direction: Direction) -> TokenContributions:
        """What each token carries of `<grad f, direction>` of its example; see `gradients/by_token.py`.

        Args:
            weights: parameters and buffers of one checkpoint by name, in the precision's type.
            inputs: the batch, with positions: token ids `[n, length]`, alone or in a dict.
            targets: what is asked about each example `[n, ...]`.
            direction: `[n_parameters]` as `direction()` of a feature map gives it, or a tensor by name of parameter.

        Raises:
            InvalidModelError: gradients of this model come without their positions.
            InvalidSettingError: the direction does not fit the selected parameters.
            InvalidDataError: the inputs have no positions.
        """
        if self.path != "hooks":
            raise InvalidModelError(
                f"what single tokens contribute can be told only where gradients come by hooks; this model's come by "
                f"{self.path or 'no way yet: call choose() first'} ({self.reason}). Select other parameters by "
                "parameters=..., or ask without tokens."
            )
        weights = held_by(self.model, weights)
        named = by_name(direction, self.layers, weights)

        def contract(_: Tensor, runs: Runs, frozen: StateDict) -> TokenContributions:
            return token_contributions(runs, self._hooked_modules, named, inputs, frozen)

        with torch.inference_mode(False), torch.enable_grad(), self._running(inputs):
            hooked = self._hooked_modules
            return with_runs(self.model, weights, self.task, inputs, targets, hooked, contract, by_side=True)

    def with_task(self, task: Task) -> "GradientComputer":
        """The same for another task, by the way that was chosen here."""
        other = copy.copy(self)
        other.task = task
        return other

    def prepared(self, weights: StateDict) -> "GradientComputer":
        """The same with its task made ready for a checkpoint."""
        return self.with_task(prepared(self.task, self.model.eval(), weights))

    def outputs(self, weights: StateDict, inputs: Inputs) -> Tensor:
        """What the model returns for a batch `[n, ...]`, without gradients."""
        with torch.no_grad(), self._running(inputs):
            return run_model(self.model, weights, inputs, self.task.outputs_of)

    def _expected(self, weights: StateDict, inputs: Inputs, targets: Tensor) -> Sequence[LayerGradients]:
        """Gradients by plain autograd, one example at a time."""
        try:
            with refusing_hidden_weights(self.model):
                return self._gradients("loop", weights, inputs, targets)[1]
        except (TrakCoreError, torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:
            raise InvalidModelError(
                f"the model runs, but its gradient cannot be computed: {type(error).__name__}: {_first_line(error)}. "
                "Check that loss.backward() works for it in evaluation mode."
            ) from error

    def _stirred(self, weights: StateDict, inputs: Inputs) -> StateDict:
        """The weights with some noise on the selected parameters; as they are where the model cannot bear it."""
        weights = held_by(self.model, weights)
        generator = torch.Generator().manual_seed(0)
        names = {name for layer in self.layers for name in layer.parameters}
        stirred = dict(weights)
        for name in sorted(names):
            value = weights[name]
            size = float(value.abs().mean()) or STIR
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float32)
            stirred[name] = value + STIR * size * noise.to(value)
        return stirred if bool(self.outputs(stirred, inputs).isfinite().all()) else weights

    def _gradients(
        self, way: GradientPath, weights: StateDict, inputs: Inputs, targets: Tensor
    ) -> tuple[Tensor, Sequence[LayerGradients]]:
        weights = held_by(self.model, weights)
        # Whatever the caller has switched off, gradients are what is asked for here.
        with torch.inference_mode(False), torch.enable_grad(), self._running(inputs):
            return self._ways[way](self.model, weights, self.layers, self.task, inputs, targets)

    @contextmanager
    def _running(self, inputs: Inputs) -> Iterator[None]:
        mixed: AbstractContextManager[object] = nullcontext()
        if self.precision in ("bfloat16", "float16"):
            mixed = torch.autocast(leaves(inputs)[0].device.type, dtype=getattr(torch, self.precision))
        # A caller who called train() in between must not get another model.
        self.model.eval()
        with mixed:
            yield

    def _check_model(self, weights: StateDict, inputs: Inputs, targets: Tensor) -> None:
        try:
            outputs = self.outputs(weights, inputs)
        except (TrakCoreError, torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:
            raise InvalidModelError(
                f"the model fails on its first {len(targets)} examples, {_words(inputs)}: {type(error).__name__}: "
                f"{_first_line(error)}. Give inputs as its forward takes them: a tensor, a tuple of arguments, or a "
                "dict of keyword arguments."
            ) from error
        if outputs.dim() == 0 or len(outputs) != len(targets):
            raise InvalidModelError(
                f"the model returns {tuple(outputs.shape)} for {len(targets)} examples; it must return one row for "
                "each."
            )
        self.task.check(outputs, targets)
        if not outputs.isfinite().all():
            return  # reported later, with the number of the example
        if _distance(self.outputs(weights, inputs), outputs) > self._tolerance:
            raise InvalidModelError(
                "the model returns other outputs when it sees the same examples again, in evaluation mode; draw no "
                "random numbers in forward (F.dropout needs training=self.training)."
            )
        try:
            alone = self.outputs(weights, take(inputs, slice(0, 1)))
        except (RuntimeError, ValueError) as error:
            raise InvalidModelError(
                f"the model runs on {len(targets)} examples but not on one alone ({_first_line(error)}). {ALONE}"
            ) from error
        if _distance(alone, outputs[:1]) > self._tolerance:
            raise InvalidModelError(
                f"the model's output for an example depends on the other examples of its batch: {_short(alone[0])} "
                f"alone, {_short(outputs[0])} among {len(targets)}. {ALONE}"
            )

    @property
    def _tolerance(self) -> float:
        return HALF_TOLERANCE if self.precision in ("bfloat16", "float16") else TOLERANCE[self.dtype]

    def _why_not(
        self, way: GradientPath, expected: Sequence[LayerGradients], weights: StateDict, inputs: Inputs, targets: Tensor
    ) -> str:
        """Why a way cannot be taken; empty when it gives what plain autograd gives."""
        if way == "hooks" and (reason := self._hooked_modules.why_not(self.model, self.layers)):
            return reason
        try:
            _, given = self._gradients(way, weights, inputs, targets)
            distances = [_distance(form(one), form(other)) for one, other in zip(given, expected, strict=True)]
        except Exception as error:
            # Models raise all sorts of things under vmap; whatever it is, this way does not work.
            return f"{type(error).__name__}: {_first_line(error)}"
        for layer, distance in zip(self.layers, distances, strict=True):
            if distance > self._tolerance:
                return f"the gradient of layer {layer.name!r} differs from plain autograd by {distance:.1g}"
        return ""

    def _find_factored(self, weights: StateDict, inputs: Inputs, targets: Tensor) -> frozenset[str]:
        """Layers whose gradients are one outer product for each example, smaller than the gradient itself."""
        if self.path != "hooks":
            return frozenset()
        _, layers = self._gradients("hooks", weights, inputs, targets)
        return frozenset(
            each.layer.name
            for each in layers
            if isinstance(each, OuterProducts)
            and each.is_single
            and each.layer.n_rows + each.layer.n_columns < each.layer.size
        )

    def _take(self, way: GradientPath, reason: str) -> None:
        self.path, self.reason, self.factored = way, reason, frozenset()
        logger.info("gradients by %s (%s)", way, reason)


def _distance(left: Tensor, right: Tensor) -> float:
    """Largest difference relative to the largest number."""
    largest = max(float(right.abs().max()), float(left.abs().max()), torch.finfo(left.dtype).tiny)
    return float((left - right).abs().max()) / largest


def _words(inputs: Inputs) -> str:
    named, _ = tree_flatten_with_path(inputs)
    return ", ".join(f"{''.join(map(str, path))} {leaf.dtype} {list(leaf.shape)}".strip() for path, leaf in named)


def _short(values: Tensor) -> str:
    return ", ".join(f"{value:.4g}" for value in values.reshape(-1)[:4].tolist())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:160]
