"""Features of the train examples at every checkpoint, and the means to compute more of the same kind."""

import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trak_core.engine.featurizer import Features, Featurizer
from trak_core.engine.options import Options
from trak_core.engine.plan import Plan, choose_plan
from trak_core.engine.signature import Signature
from trak_core.errors import InvalidDataError, RunMismatchError
from trak_core.gradients import GradientComputer, Layer, StateDict, to_device
from trak_core.projection import FeatureMap, make_feature_map
from trak_core.seeds import derive_seed
from trak_core.store.features import FeatureBlock, FeatureStore, FileFeatures, MemoryFeatures
from trak_core.store.files import RunFiles
from trak_core.subjects.batches import Batch, Block, Data
from trak_core.tasks import Task
from trak_core.training.weights import Checkpoints, digest_of

__all__ = ["BLOCK", "FittedFeatures"]

BLOCK = 1024
"""Train examples whose features are written at once; fewer where inputs or rows are large."""
BLOCK_BYTES = 2**26
"""The most that the inputs of a block may take, as they wait for their features."""
ROWS_BYTES = 2**24
"""The most that the rows of a block may take: DuckDB holds a few copies of them while it writes."""
FEATURES_REVISION = 1
"""Raise it with any change of the code that changes features."""


class FittedFeatures:
    """Features of all train examples.

    Args:
        model: supplies the forward pass.
        task: what a prediction is.
        layers: what to differentiate with respect to.
        checkpoints: weights.
        options: settings of the attributor.
        device: that computes.
        first: the first batch of the train examples, on which everything is chosen.
        n_train: number of train examples, None where only reading will tell.
        store_dir: where features are written to as they come; None for memory or a temporary file.

    Attributes:
        plan: what was chosen and why.
        maps: from gradients to rows, one for each checkpoint.
        store: holds the features.
        n_train: number of train examples, once `compute` is through.
        block_size: examples whose features are written at once.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        layers: list[Layer],
        checkpoints: Checkpoints,
        options: Options,
        device: torch.device,
        first: Batch,
        n_train: int | None,
        store_dir: Path | None,
    ) -> None:
        if first.labels is None:
            raise InvalidDataError("train has no labels; give (inputs, labels), the weights q depend on them.")
        computer = GradientComputer(model, task, layers, options.precision)
        inputs = to_device(first.inputs, device, options.dtype)
        asked = first.labels.to(device, options.dtype if first.labels.is_floating_point() else None)
        computer.choose(checkpoints.weights(0), inputs, asked, options.gradients)
        self.plan: Plan = choose_plan(options, computer, n_train, len(first))
        self.maps: list[FeatureMap] = [
            make_feature_map(
                self.plan.projection,
                layers,
                computer.factored,
                self.plan.proj_dim or 0,
                derive_seed(options.seed, "projection", checkpoint_id),
            )
            for checkpoint_id in range(len(checkpoints))
        ]
        self.checkpoints = checkpoints
        self.dtype = options.dtype
        self.n_train = 0
        self.settings: dict[str, Any] = {
            "features_revision": FEATURES_REVISION,
            "checkpoints": checkpoints.sha256s,
            "model": repr(model),
            "task": task.name,
            "parameters": [f"{layer.name}: {', '.join(layer.leaves)}" for layer in layers],
            "projection": self.plan.projection,
            "proj_dim": self.plan.proj_dim,
            "seed": options.seed,
            "precision": options.precision,
            "factored": sorted(computer.factored),
            "other_buffers": digest_of(_unsaved_buffers(model)),
        }
        row_bytes = self.width * self.dtype.itemsize
        self.block_size = max(1, min(BLOCK, BLOCK_BYTES // first.bytes_an_example, ROWS_BYTES // row_bytes))
        self._featurizer = Featurizer(computer, device, self.plan.batch_size)
        self._signature = Signature.of(first)
        self._remove_temporary: weakref.finalize[[str], FittedFeatures] | None = None
        self.store = self._open_store(store_dir, n_train, options.memory_budget // 2)

    def _open_store(self, store_dir: Path | None, n_train: int | None, budget: int) -> FeatureStore:
        is_double = self.dtype == torch.float64
        if store_dir is not None:
            return FileFeatures(RunFiles(store_dir).features, self.width, self.settings, is_double)
        if n_train is not None and n_train * self.width * self.dtype.itemsize * len(self.checkpoints) <= budget:
            return MemoryFeatures()
        temporary = tempfile.mkdtemp(prefix="trak-features-")
        # Goes with this object, also where nobody calls close().
        self._remove_temporary = weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)
        path = RunFiles(Path(temporary)).features
        return FileFeatures(path, self.width, self.settings, is_double)

    @property
    def width(self) -> int:
        """Length of a row."""
        return self.maps[0].width

    def compute(self, data: Data, on_examples: Callable[[int], object]) -> None:
        """Computes the features that the store lacks, for every block at every checkpoint.

        Args:
            data: the train examples.
            on_examples: called with the number of examples after each block.

        Raises:
            ShuffledDataError: a block holds other examples than in an earlier pass.
            RunMismatchError: the store holds features of other examples.
            Others as in `Featurizer.features`.
        """
        digests: dict[int, str] = {}
        for checkpoint_id in range(len(self.checkpoints)):
            self.n_train = 0
            for block in data.blocks(self.block_size):
                if digests.setdefault(block.start, block.digest) != block.digest:
                    raise data.shuffled(f"examples {_range(block)} differ between two passes")
                written = self.store.digest(checkpoint_id, block.start)
                if written is None:
                    self._write(checkpoint_id, block)
                elif written != block.digest:
                    raise RunMismatchError(
                        f"the features that are stored for train examples {_range(block)} were computed from other "
                        "examples, or another order of them. Give the same data in the same order, choose another "
                        "store, or delete its features.duckdb."
                    )
                self.n_train += len(block)
                on_examples(len(block))
            if len(self.store.starts(checkpoint_id)) != len(digests):
                raise RunMismatchError(
                    f"the store holds features of more than the {self.n_train:,} train examples given; give all of "
                    "them, choose another store, or delete its features.duckdb."
                )

    def _write(self, checkpoint_id: int, block: Block) -> None:
        labels = block.labels
        if labels is None:
            raise InvalidDataError(f"train examples {_range(block)} have no labels; give one for each.")
        features = self.features(checkpoint_id, block, labels, "train")
        self.store.write(
            checkpoint_id,
            FeatureBlock(
                start=block.start,
                rows=features.rows.numpy(),
                q=features.q.numpy(),
                norm=features.norm.numpy(),
                model_output=features.model_output.numpy(),
                digest=block.digest,
            ),
        )

    def features(self, checkpoint_id: int, block: Block, asked: Tensor, what: str = "test") -> Features:
        """Features of any examples at a checkpoint; errors as in `Featurizer.features`."""
        weights = self.checkpoints.weights(checkpoint_id)
        return self._featurizer.features(weights, self.maps[checkpoint_id], block, asked, what)

    def stored(self, checkpoint_id: int, block: Block) -> Features:
        """Features of a block of train examples as they are stored, with the model's outputs computed anew."""
        q, norm, model_output = (
            torch.from_numpy(np.array(self.store.column(checkpoint_id, name, block.start, block.start + len(block))))
            for name in ("q", "norm", "model_output")
        )
        rows = torch.from_numpy(np.array(self.store.rows(checkpoint_id, block.start)))
        outputs = self._featurizer.outputs(self.checkpoints.weights(checkpoint_id), block)
        return Features(rows, q, norm, model_output, outputs)

    def digests(self) -> list[str]:
        """Fingerprints of all blocks of train examples, in order."""
        return [str(self.store.digest(0, start)) for start in self.store.starts(0)]

    def mean_q(self) -> NDArray[np.float64]:
        """Weights q `[n_train]`, averaged over checkpoints."""
        of_each = [self.store.column(i, "q") for i in range(len(self.checkpoints))]
        return np.asarray(np.mean(of_each, axis=0, dtype=np.float64))

    def mean_probabilities(self, block: Block) -> Tensor:
        """Probabilities of classes, averaged over checkpoints: `[n, n_classes]`."""
        every = [
            self._featurizer.outputs(self.checkpoints.weights(checkpoint_id), block).softmax(-1)
            for checkpoint_id in range(len(self.checkpoints))
        ]
        return torch.stack(every).mean(0)

    def check_inputs(self, block: Block) -> None:
        """Refuses examples of another kind than the train examples, by ShapeMismatchError."""
        for batch in block.batches:
            self._signature.check(batch)

    def close(self) -> None:
        """Lets go of the store; a temporary one is deleted."""
        self.store.close()
        if self._remove_temporary is not None:
            self._remove_temporary()


def _unsaved_buffers(model: nn.Module) -> StateDict:
    """Buffers that outputs depend on, but that no state dict holds."""
    saved = model.state_dict()
    return {name: value for name, value in model.named_buffers() if name not in saved}


def _range(block: Block) -> str:
    return f"{block.start} to {block.start + len(block) - 1}"
