"""TRAK for an `Attributor`: features of the train examples in a store, block by block, and kernels over them."""

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trak_core.engine.featurizer import Features
from trak_core.engine.fitted import Fitted, Question, range_of
from trak_core.engine.options import Options
from trak_core.engine.plan import choose_plan
from trak_core.errors import InvalidDataError, InvalidModelError, RunMismatchError
from trak_core.gradients import Layer
from trak_core.methods import (
    CheckpointKernel,
    Kernels,
    check_ridge,
    is_dual,
    mean_scores,
    mean_self_influence,
    predict_subsets,
)
from trak_core.projection import FeatureMap, SjltProjection, SketchMap, WholeMap, make_feature_map
from trak_core.seeds import derive_seed
from trak_core.store.features import FeatureBlock, FeatureStore, FileFeatures, MemoryFeatures
from trak_core.store.files import RunFiles
from trak_core.subjects.batches import Batch, Block, Data
from trak_core.tasks import Task
from trak_core.training.weights import Checkpoints

FEATURES_REVISION = 2
"""Raise it with any change of the code that changes features."""


class FittedFeatures(Fitted):
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
        maps: from gradients to rows, one for each checkpoint.
        store: holds the features.
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
        super().__init__(model, task, layers, checkpoints, options, device, first)
        # Inner products between two sides need rows of one form, and only one of the sides is known here.
        factored = self._computer.factored if task.query is task else frozenset()
        plan = choose_plan(options, self._computer, n_train, len(first))
        self.maps: list[FeatureMap] = [
            make_feature_map(
                plan.projection,
                layers,
                factored,
                plan.proj_dim or 0,
                derive_seed(options.seed, "projection", checkpoint_id),
            )
            for checkpoint_id in range(len(checkpoints))
        ]
        self.settings |= {
            "features_revision": FEATURES_REVISION,
            "projection": plan.projection,
            "proj_dim": plan.proj_dim,
            "factored": sorted(factored),
        }
        self._settle(plan, first, self.width * self.dtype.itemsize)
        self._remove_temporary: weakref.finalize[[str], FittedFeatures] | None = None
        self.store = self._open_store(store_dir, n_train, options.memory_budget // 2)
        self._kernels: Kernels | None = None
        self._q = torch.empty(0)

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

    @property
    def n_passes(self) -> int:
        """As in `Fitted`."""
        return len(self.checkpoints)

    @property
    def feature_width(self) -> int | None:
        """As in `Fitted`."""
        return None if isinstance(self.maps[0], WholeMap) else self.width

    @property
    def is_streaming(self) -> bool:
        """As in `Fitted`."""
        return True

    @property
    def kernel(self) -> str:
        """As in `Fitted`."""
        return "dual" if is_dual(self.maps[0], self.n_train) else "primal"

    def compute(self, data: Data, on_examples: Callable[[int], object]) -> None:
        """As in `Fitted`: the features that the store lacks, for every block at every checkpoint.

        Raises:
            ShuffledDataError: a block holds other examples than in an earlier pass.
            RunMismatchError: the store holds features of other examples.
            OutOfMemoryError: the kernel does not fit into the memory budget.
            InvalidModelError: every gradient of a checkpoint is zero.
            Others as in `Featurizer.features`.
        """
        digests: dict[int, str] = {}
        for checkpoint_id in range(len(self.checkpoints)):
            self.n_train = 0
            for block in data.blocks(self.block_size):
                if digests.setdefault(block.start, block.digest) != block.digest:
                    raise data.shuffled(f"examples {range_of(block)} differ between two passes")
                written = self.store.digest(checkpoint_id, block.start)
                if written is None:
                    self._write(checkpoint_id, block)
                elif written != block.digest:
                    raise RunMismatchError(
                        f"the features that are stored for train examples {range_of(block)} were computed from other "
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
        self._check()
        self._q = torch.from_numpy(self.mean_q())
        self._kernels = self._made_kernels()

    def _check(self) -> None:
        """What holds for all checkpoints, once all features are there."""
        self.plan.check_kernel(self.n_train, self.dtype.itemsize)
        for checkpoint_id in range(len(self.checkpoints)):
            if not self.store.column(checkpoint_id, "norm").any():
                raise InvalidModelError(
                    f"every gradient of checkpoint {checkpoint_id} is zero, so it says nothing about the train "
                    "examples. Check that the selected parameters have a part in the outputs and that forward does "
                    "not detach them."
                )
        check_ridge(self.options.ridge, self.n_train, self.plan.proj_dim, self.dtype)

    def _write(self, checkpoint_id: int, block: Block) -> None:
        labels = block.labels
        if labels is None:
            raise InvalidDataError(f"train examples {range_of(block)} have no labels; give one for each.")
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

    def features(self, checkpoint_id: int, block: Block, targets: Tensor, what: str = "test") -> Features:
        """Features of any examples at a checkpoint, on the side of the task that `what` says, "train" or "test".

        Errors as in `Featurizer.features`.
        """
        return self._features(checkpoint_id, self.maps[checkpoint_id], block, targets, what)

    def stored(self, checkpoint_id: int, block: Block) -> Features:
        """Features of a block of train examples as they are stored, with the model's outputs computed anew."""
        q, norm, model_output = (
            torch.from_numpy(np.array(self.store.column(checkpoint_id, name, block.start, block.start + len(block))))
            for name in ("q", "norm", "model_output")
        )
        rows = torch.from_numpy(np.array(self.store.rows(checkpoint_id, block.start)))
        outputs = self.outputs(checkpoint_id, block, "train")
        return Features(rows, q, norm, model_output, outputs)

    def digests(self) -> list[str]:
        """As in `Fitted`."""
        return [str(self.store.digest(0, start)) for start in self.store.starts(0)]

    def mean_q(self) -> NDArray[np.float64]:
        """Weights q `[n_train]`, averaged over checkpoints."""
        of_each = [self.store.column(i, "q") for i in range(len(self.checkpoints))]
        return np.asarray(np.mean(of_each, axis=0, dtype=np.float64))

    # --- scores -------------------------------------------------------------------------------------------

    def iter_scores(self, questions: Iterable[Question], ridge: float) -> Iterator[Tensor]:
        """As in `Fitted`."""
        for block, targets in questions:
            yield mean_scores(self.kernels, partial(self._asked, block, targets), [ridge], self._q)[0]

    def predict(
        self, questions: Iterable[Question], masks: NDArray[np.bool_], ridges: Sequence[float]
    ) -> dict[float, NDArray[np.float64]]:
        """As in `Fitted`."""
        weighted = (torch.from_numpy(masks) * self._q).to(self.device)
        parts: dict[float, list[NDArray[np.float64]]] = {ridge: [] for ridge in ridges}
        for block, targets in questions:
            found = predict_subsets(self.kernels, partial(self._asked, block, targets), ridges, weighted)
            for ridge, outcomes in found.items():
                parts[ridge].append(outcomes.cpu().numpy())
        return {ridge: np.concatenate(of_ridge, axis=1) for ridge, of_ridge in parts.items()}

    def self_influence(self, ridge: float) -> Tensor:
        """As in `Fitted`."""
        return mean_self_influence(self.kernels, ridge, self._q)

    def _asked(self, block: Block, targets: Tensor, checkpoint_id: int) -> list[Tensor]:
        return [self.features(checkpoint_id, block, targets).rows.to(self.device)]

    @property
    def kernels(self) -> Kernels:
        """The kernels of the checkpoints, once `compute` is through."""
        assert self._kernels is not None
        return self._kernels

    def _made_kernels(self) -> Kernels:
        budget, maps, n_train = self.options.memory_budget, self.maps, self.n_train
        rows = _TrainRows(self.store, n_train, self.width, self.dtype, self.device, budget // 2)

        # Of parts only: a way back to this object would keep a temporary file until the next collection of garbage.
        def make(checkpoint_id: int) -> CheckpointKernel:
            feature_map = maps[checkpoint_id]
            return CheckpointKernel(_At(rows, checkpoint_id), feature_map, dual=is_dual(feature_map, n_train))

        return Kernels(make, len(maps), budget // 4)

    def features_of_run(self, split: str, checkpoint_id: int, block: Block, targets: Tensor, proj_dim: int) -> Features:
        """As in `Fitted`: those that are there for train examples, computed for test examples."""
        computed = (
            self.stored(checkpoint_id, block) if split == "train" else self.features(checkpoint_id, block, targets)
        )
        feature_map = self.maps[checkpoint_id]
        if isinstance(feature_map, WholeMap):
            seed = derive_seed(self.options.seed, "live projection", checkpoint_id)
            sketch = SketchMap(self.layers, SjltProjection(proj_dim, seed))
            parts = (sketch.rows(feature_map.unpack(part))[0] for part in torch.split(computed.rows, 64))
            computed = replace(computed, rows=torch.cat(list(parts)))
        return computed

    def close(self) -> None:
        """As in `Fitted`; a temporary store is deleted."""
        self._kernels = None
        self.store.close()
        if self._remove_temporary is not None:
            self._remove_temporary()


class _TrainRows:
    """Rows of the train examples `[n_train, width]` on a device, kept in memory as long as the budget has room."""

    def __init__(
        self, store: FeatureStore, n_train: int, width: int, dtype: torch.dtype, device: torch.device, budget: int
    ) -> None:
        self._store, self._device, self._dtype, self._shape = store, device, dtype, (n_train, width)
        self._n_kept = budget // (n_train * width * dtype.itemsize)
        self._kept: dict[int, Tensor] = {}

    def blocks(self, checkpoint_id: int) -> Iterator[Tensor]:
        """Rows in order, in one block or several."""
        in_place = self._store.in_memory and self._device.type == "cpu"
        if not in_place and checkpoint_id not in self._kept and len(self._kept) < self._n_kept:
            kept = torch.empty(self._shape, dtype=self._dtype, device=self._device)
            for start in self._store.starts(checkpoint_id):
                rows = self._store.rows(checkpoint_id, start)
                kept[start : start + len(rows)] = torch.tensor(rows)
            self._kept[checkpoint_id] = kept
        if checkpoint_id in self._kept:
            yield self._kept[checkpoint_id]
            return
        for start in self._store.starts(checkpoint_id):
            rows = self._store.rows(checkpoint_id, start)
            # A copy: what a file gives is read-only, which torch does not know.
            yield torch.from_numpy(rows) if in_place else torch.tensor(rows, device=self._device)


@dataclass(frozen=True)
class _At:
    """Train rows at one checkpoint, which can be gone through again and again."""

    rows: _TrainRows
    checkpoint_id: int

    def __iter__(self) -> Iterator[Tensor]:
        return self.rows.blocks(self.checkpoint_id)
