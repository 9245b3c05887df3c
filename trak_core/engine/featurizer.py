"""Features of a block of examples at one checkpoint, in batches as large as memory allows."""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from trak_core.errors import HalfPrecisionOverflowError, NonFiniteGradientError, OutOfMemoryError
from trak_core.gradients import BatchGradients, GradientComputer, StateDict, form, to_device
from trak_core.projection import FeatureMap
from trak_core.subjects.batches import Batch, Block

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """What is known of n examples at one checkpoint, on the CPU."""

    rows: Tensor  # features `[n, width]`
    q: Tensor  # weights `[n]`
    norm: Tensor  # norms of the gradients `[n]`
    model_output: Tensor  # f `[n]`
    outputs: Tensor  # of the model `[n, ...]`


class Featurizer:
    """Computes features.

    Args:
        computer: of gradients, its way chosen.
        device: that computes.
        batch_size: the most examples at once; halved for good whenever memory runs out.
    """

    def __init__(self, computer: GradientComputer, device: torch.device, batch_size: int) -> None:
        self.computer = computer
        self.device = device
        self.batch_size = batch_size

    @torch.inference_mode(False)
    def features(
        self, weights: StateDict, feature_map: FeatureMap, block: Block, targets: Tensor, what: str
    ) -> Features:
        """Features of all examples of a block.

        Args:
            weights: of the checkpoint.
            feature_map: from gradients to rows.
            block: the examples.
            targets: what is asked about each, `[n, ...]`.
            what: "train" or "test", for messages.

        Raises:
            NonFiniteGradientError: a gradient or output is NaN or infinite; the message names the example and layer.
            LabelError: a label is of the wrong kind or out of range.
            OutOfMemoryError: not even one example fits.
        """
        computer = self.computer.prepared(weights)
        parts: list[Features] = []
        at = 0
        for batch in block.batches:
            done = 0
            while done < len(batch):
                stop = min(len(batch), done + self.batch_size)
                try:
                    parts.append(
                        self._batch(
                            computer,
                            weights,
                            feature_map,
                            batch.part(done, stop),
                            targets[at + done : at + stop],
                            what,
                            block.start + at + done,
                        )
                    )
                except (RuntimeError, MemoryError) as error:
                    self._halve(error, stop - done)
                    continue
                done = stop
            at += len(batch)
        return Features(
            *(
                torch.cat([getattr(part, name) for part in parts])
                for name in ("rows", "q", "norm", "model_output", "outputs")
            )
        )

    def outputs(self, weights: StateDict, block: Block) -> Tensor:
        """What the model returns for the examples of a block `[n, ...]`, on the CPU."""
        computer, parts = self.computer.prepared(weights), []
        for batch in block.batches:
            for start in range(0, len(batch), self.batch_size):
                inputs = batch.part(start, start + self.batch_size).inputs
                parts.append(computer.outputs(weights, to_device(inputs, self.device, computer.dtype)).cpu())
        return torch.cat(parts)

    def _batch(
        self,
        computer: GradientComputer,
        weights: StateDict,
        feature_map: FeatureMap,
        batch: Batch,
        targets: Tensor,
        what: str,
        start: int,
    ) -> Features:
        inputs = to_device(batch.inputs, self.device, computer.dtype)
        targets = targets.to(self.device, computer.dtype if targets.is_floating_point() else None)
        gradients = computer.compute(weights, inputs, targets)
        computer.task.check(gradients.outputs, targets, start)
        rows, squared_norms = feature_map.rows(gradients.layers)
        finite = squared_norms.isfinite() & rows.isfinite().all(1)
        finite &= gradients.model_output.isfinite() & gradients.q.isfinite()
        if not finite.all():
            raise self._not_finite(gradients, int((~finite).nonzero()[0, 0]), what, start)
        return Features(
            rows.cpu(),
            gradients.q.cpu(),
            squared_norms.sqrt().cpu(),
            gradients.model_output.cpu(),
            gradients.outputs.cpu(),
        )

    def _not_finite(self, gradients: BatchGradients, place: int, what: str, start: int) -> NonFiniteGradientError:
        """The error for one example, with the first layer whose gradient is not finite."""
        example = f"{what} example {start + place}"
        value = float(gradients.model_output[place])
        half = self.computer.precision in ("float16", "bfloat16")
        kind = HalfPrecisionOverflowError if half else NonFiniteGradientError
        advice = (
            "precision='float32' has room for numbers that half precision has not."
            if half
            else "Look at that example's input and at the checkpoint's weights; leave the example out, or mend them."
        )
        if not torch.isfinite(gradients.outputs[place]).all():
            return kind(f"the model's outputs for {example} are not finite. {advice}")
        if not torch.isfinite(gradients.model_output[place]) or not torch.isfinite(gradients.q[place]):
            return kind(f"the model output of {example} is {value}, its weight q {float(gradients.q[place])}. {advice}")
        for layer in gradients.layers:
            wrong = ~torch.isfinite(form(layer)[:, place])
            if wrong.any():
                name = layer.layer.name or "the model itself"
                return kind(
                    f"the gradient of {example} is not finite in layer {name!r} ({int(wrong.sum())} of "
                    f"{layer.layer.size} numbers). {advice}"
                )
        return kind(f"the gradient of {example} is finite, but its square or its projection is not. {advice}")

    def _halve(self, error: Exception, tried: int) -> None:
        """Halves the batch after an error that tells of too little memory; raises any other."""
        if not _is_out_of_memory(error):
            raise error
        if tried == 1:
            raise OutOfMemoryError(
                f"the gradient of a single example does not fit into memory on {self.device} "
                f"({str(error).splitlines()[0]}). Select fewer parameters with parameters=..., or use a larger machine."
            ) from error
        self.batch_size = max(1, tried // 2)
        logger.warning("out of memory with %d examples at once; going on with %d", tried, self.batch_size)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
