"""TRAK for an `Attributor`: features of the train examples in a store, block by block, and kernels over them."""

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.engine.featurizer import Features
from trak_core.engine.fitted import Fitted, Question, Setup, range_of, train_labels
from trak_core.engine.plan import choose_plan
from trak_core.errors import InvalidModelError, RunMismatchError
from trak_core.methods import (
    CheckpointKernel,
    Kernels,
    check_ridge,
    is_dual,
    mean_scores,
    mean_self_influence,
    predict_subsets,
)
from trak_core.projection import FeatureMap, WholeMap, make_feature_map
from trak_core.seeds import derive_seed
from trak_core.store.features import FeatureBlock, FeatureStore, FileFeatures, MemoryFeatures
from trak_core.store.files import RunFiles
from trak_core.subjects.batches import Batch, Block, Data

FEATURES_REVISION = 2
"""Raise it with any change of the code that changes features."""


class FittedFeatures(Fitted):
    """Features of all train examples.

    Args:
        setup: of the attributor.
        first: the first batch of the train examples, on which everything is chosen.
        n_train: number of train examples, None where only reading will tell.
        store_dir: where features are written to as they come; None for memory or a temporary file.
    """

    is_streaming = True
    # Both once `compute` is through:
    kernels: Kernels  # of the checkpoints
    q: Tensor  # weights of the train examples, averaged over checkpoints, float64 `[n_train]`

    def __init__(self, setup: Setup, first: Batch, n_train: int | None, store_dir: Path | None) -> None:
        super().__init__(setup, first)
        # Inner products between two sides need rows of one form, and only one of the sides is known here.
        factored = self._computer.factored if self.task.query is self.task else frozenset()
        plan = choose_plan(self.options, self._computer, n_train, len(first))
        self.n_passes = len(self.checkpoints)
        seeds = (derive_seed(self.options.seed, "projection", i) for i in range(self.n_passes))
        # From gradients to rows, one for each checkpoint.
        self.maps: list[FeatureMap] = [
            make_feature_map(plan.projection, self.layers, factored, plan.proj_dim or 0, seed) for seed in seeds
        ]
        self.width = self.maps[0].width
        self.feature_width = None if isinstance(self.maps[0], WholeMap) else self.width
        self.settings |= {
            "features_revision": FEATURES_REVISION,
            "projection": plan.projection,
            "proj_dim": plan.proj_dim,
            "factored": sorted(factored),
        }
        self._settle(plan, first, self.width * self.dtype.itemsize)
        self._remove_temporary: weakref.finalize[[str], FittedFeatures] | None = None
        self.store = self._open_store(store_dir, n_train, self.options.memory_budget // 2)

    def _open_store(self, store_dir: Path | None, n_train: int | None, budget: int) -> FeatureStore:
        if store_dir is None:
            if n_train is not None and n_train * self.width * self.dtype.itemsize * self.n_passes <= budget:
                return MemoryFeatures()
            temporary = tempfile.mkdtemp(prefix="trak-features-")
            # Goes with this object, also where nobody calls close().
            self._remove_temporary = weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)
            store_dir = Path(temporary)
        return FileFeatures(RunFiles(store_dir).features, self.width, self.settings, self.dtype == torch.float64)

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
        for checkpoint_id in range(self.n_passes):
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
        self.digests = list(digests.values())
        self._check()
        of_each = [self.store.column(i, "q") for i in range(self.n_passes)]
        self.q = torch.from_numpy(np.mean(of_each, axis=0, dtype=np.float64))
        self._make_kernels()

    def _check(self) -> None:
        """What holds for all checkpoints, once all features are there."""
        self.plan.check_kernel(self.n_train, self.dtype.itemsize)
        for checkpoint_id in range(self.n_passes):
            if not self.store.column(checkpoint_id, "norm").any():
                raise InvalidModelError(
                    f"every gradient of checkpoint {checkpoint_id} is zero, so it says nothing about the train "
                    "examples. Check that the selected parameters have a part in the outputs and that forward does "
                    "not detach them."
                )
        check_ridge(self.options.ridge, self.n_train, self.plan.proj_dim, self.dtype)

    def _write(self, checkpoint_id: int, block: Block) -> None:
        found = self.features(checkpoint_id, self.maps[checkpoint_id], block, train_labels(block), "train")
        rows, q, norm, model_output, _ = (values.numpy() for values in found)
        self.store.write(checkpoint_id, FeatureBlock(block.start, rows, q, norm, model_output, block.digest))

    # --- scores -------------------------------------------------------------------------------------------

    def iter_scores(self, questions: Iterable[Question], ridge: float) -> Iterator[Tensor]:
        """As in `Fitted`."""
        for block, targets in questions:
            yield mean_scores(self.kernels, partial(self._asked, block, targets), [ridge], self.q)[0]

    def predict(
        self, questions: Iterable[Question], masks: NDArray[np.bool_], ridges: Sequence[float]
    ) -> dict[float, NDArray[np.float64]]:
        """As in `Fitted`."""
        weighted = (torch.from_numpy(masks) * self.q).to(self.device)
        found = [
            predict_subsets(self.kernels, partial(self._asked, block, targets), ridges, weighted)
            for block, targets in questions
        ]
        return {ridge: torch.cat([each[ridge] for each in found], dim=1).cpu().numpy() for ridge in ridges}

    def self_influence(self, ridge: float) -> Tensor:
        """As in `Fitted`."""
        return mean_self_influence(self.kernels, ridge, self.q)

    def _asked(self, block: Block, targets: Tensor, checkpoint_id: int) -> list[Tensor]:
        return [self.features(checkpoint_id, self.maps[checkpoint_id], block, targets).rows.to(self.device)]

    def _make_kernels(self) -> None:
        maps, n_train, budget, shape = self.maps, self.n_train, self.options.memory_budget, (self.n_train, self.width)
        n_kept = budget // 2 // (n_train * self.width * self.dtype.itemsize)
        train_rows = partial(_TrainRows, self.store, shape, self.dtype, self.device, n_kept, {})

        # Of parts only: a way back to this object would keep a temporary file until the next collection of garbage.
        def make(checkpoint_id: int) -> CheckpointKernel:
            feature_map = maps[checkpoint_id]
            return CheckpointKernel(train_rows(checkpoint_id), feature_map, dual=is_dual(feature_map, n_train))

        self.kernels = Kernels(make, len(maps), budget // 4)
        self.kernel = "dual" if is_dual(maps[0], n_train) else "primal"

    def features_of_run(self, split: str, checkpoint_id: int, block: Block, targets: Tensor, proj_dim: int) -> Features:
        """As in `Fitted`: those that are there for train examples, computed for test examples."""
        feature_map = self.maps[checkpoint_id]
        if split == "train":
            where = (block.start, block.start + len(block))
            columns = (self.store.column(checkpoint_id, name, *where) for name in ("q", "norm", "model_output"))
            stored = (self.store.rows(checkpoint_id, block.start), *columns)
            rows, q, norm, model_output = (torch.from_numpy(np.array(values)) for values in stored)
            computed = Features(rows, q, norm, model_output, self.outputs(checkpoint_id, block, "train"))
        else:
            computed = self.features(checkpoint_id, feature_map, block, targets)
        if isinstance(feature_map, WholeMap):
            sketch = self.live_sketch(checkpoint_id, proj_dim)
            parts = (sketch.rows(feature_map.unpack(part))[0] for part in torch.split(computed.rows, 64))
            computed = computed._replace(rows=torch.cat(list(parts)))
        return computed

    def close(self) -> None:
        """As in `Fitted`; a temporary store is deleted."""
        self.store.close()
        if self._remove_temporary is not None:
            self._remove_temporary()


@dataclass(frozen=True)
class _TrainRows:
    """Rows of the train examples at one checkpoint, gone through again and again; kept while the budget has room."""

    store: FeatureStore
    shape: tuple[int, int]  # `[n_train, width]`
    dtype: torch.dtype
    device: torch.device
    n_kept: int  # checkpoints whose rows may be kept
    kept: dict[int, Tensor]  # those that are, of all checkpoints
    checkpoint_id: int

    def __iter__(self) -> Iterator[Tensor]:
        """Rows in order, in one block or several."""
        blocks = (self.store.rows(self.checkpoint_id, start) for start in self.store.starts(self.checkpoint_id))
        if self.store.in_memory and self.device.type == "cpu":
            yield from map(torch.from_numpy, blocks)
            return
        if self.checkpoint_id not in self.kept and len(self.kept) < self.n_kept:
            rows, at = torch.empty(self.shape, dtype=self.dtype, device=self.device), 0
            for block in blocks:
                rows[at : at + len(block)] = torch.tensor(block)
                at += len(block)
            self.kept[self.checkpoint_id] = rows
        if self.checkpoint_id in self.kept:
            yield self.kept[self.checkpoint_id]
        else:
            # A copy: what a file gives is read-only, which torch does not know.
            yield from (torch.tensor(block, device=self.device) for block in blocks)
