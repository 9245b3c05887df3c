"""Features of a block of examples at one checkpoint, in batches as large as memory allows."""

import logging
from typing import NamedTuple

import torch
from torch import Tensor

from trak_core.errors import HalfPrecisionOverflowError, NonFiniteGradientError, OutOfMemoryError
from trak_core.gradients import BatchGradients, GradientComputer, StateDict, form, to_device
from trak_core.projection import FeatureMap
from trak_core.subjects.batches import Batch, Block
from trak_core.tasks.ragged import cut_to, joined

logger = logging.getLogger(__name__)


class Features(NamedTuple):
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
        room: bytes that a batch may take at work, so that long texts come in smaller ones; None for any.
    """

    def __init__(
        self, computer: GradientComputer, device: torch.device, batch_size: int, room: int | None = None
    ) -> None:
        self.computer = computer
        self.device = device
        self.batch_size = batch_size
        self._room = room

    def at_once(self, labels: Tensor | None) -> int:
        """How many examples with labels of this length are taken at once."""
        computer = self.computer
        size = 0 if labels is None else computer.dtype.itemsize * computer.task.numbers_at_work(computer.model, labels)
        return self.batch_size if self._room is None or not size else max(1, min(self.batch_size, self._room // size))

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
        computer, parts, at = self.computer.prepared(weights), [], 0
        for batch in block.batches:
            done = 0
            while done < len(batch):
                part = batch.part(done, min(len(batch), done + self.at_once(batch.labels)))
                asked = cut_to(targets[at : at + len(part)], part.labels)
                try:
                    parts.append(self._batch(computer, weights, feature_map, part, asked, what, block.start + at))
                except (RuntimeError, MemoryError) as error:
                    self._halve(error, len(part))
                    continue
                done, at = done + len(part), at + len(part)
        return Features(*(joined(of_each, 0) for of_each in zip(*parts, strict=True)))

    def outputs(self, weights: StateDict, block: Block) -> Tensor:
        """What the model returns for the examples of a block `[n, ...]`, on the CPU."""
        computer, parts = self.computer.prepared(weights), []
        for batch in block.batches:
            size = self.at_once(batch.labels)
            for start in range(0, len(batch), size):
                inputs = batch.part(start, start + size).inputs
                parts.append(computer.outputs(weights, to_device(inputs, self.device, computer.dtype)).cpu())
        return joined(parts, 0)

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
        inputs, targets = to_device((batch.inputs, targets), self.device, computer.dtype)
        gradients = computer.compute(weights, inputs, targets)
        computer.task.check(gradients.outputs, targets, start)
        rows, squared_norms = feature_map.rows(gradients.layers)
        finite = squared_norms.isfinite() & rows.isfinite().all(1)
        finite &= gradients.model_output.isfinite() & gradients.q.isfinite()
        if not finite.all():
            raise self._not_finite(gradients, int((~finite).nonzero()[0, 0]), what, start)
        found = (rows, gradients.q, squared_norms.sqrt(), gradients.model_output, gradients.outputs)
        return Features(*(values.cpu() for values in found))

    def _not_finite(self, gradients: BatchGradients, place: int, what: str, start: int) -> NonFiniteGradientError:
        """The error for one example, with the first layer whose gradient is not finite."""
        example = f"{what} example {start + place}"
        value = float(gradients.model_output[place])
        half = self.computer.precision in ("float16", "bfloat16")
        kind = HalfPrecisionOverflowError if half else NonFiniteGradientError
        advice = (
            "precision='float32' has room for numbers that half precision has not."
            if half
            else "Look at that example's input and at the checkpoint's weights; leave the example out, or fix them."
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
    said = ("out of memory", "can't allocate memory", "not enough memory")
    return any(words in str(error) for words in said)
