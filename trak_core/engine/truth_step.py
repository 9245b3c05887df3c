"""Retrains what a measurement needs besides the ledger: halves for datamodels, and other ways to ask what is true."""

import logging
from typing import Any

import numpy as np

from trak_core.engine.evidence_step import columns_of, fixed_counts, or_null, train_classes
from trak_core.engine.measure_settings import Truth
from trak_core.engine.measurement import Measurement
from trak_core.engine.scoring import Tables
from trak_core.evidence.lds import MIN_SUBSETS, noise_ceiling
from trak_core.seeds import derive_seed
from trak_core.store.ledger import pack_masks
from trak_core.training import draw_half_subsets, draw_subsets

logger = logging.getLogger(__name__)


def retrain_datamodels(m: Measurement) -> None:
    """Retrains one model on each of the further halves that datamodels learn from."""
    n = m.settings.n_datamodel_subsets
    masks = draw_half_subsets(n, m.n_train, derive_seed(m.build.seed, "datamodel subsets"))
    seeds = [derive_seed(m.build.seed, "datamodel", i) for i in range(n)]
    outcomes = m.train_subsets(masks, seeds) if n else np.empty((0, m.n_test))
    kept = np.flatnonzero(np.isfinite(outcomes).all(1))
    tables: Tables = {
        "datamodel_subsets": {"subset": kept, "mask": pack_masks(masks[kept])},
        "datamodel_outcomes": {
            "subset": np.repeat(kept, m.n_test),
            "test_idx": np.tile(np.arange(m.n_test), len(kept)),
            "model_output": outcomes[kept].reshape(-1),
        },
    }
    m.writer.write("datamodels", tables, m.lost("datamodels", "random halves", n - len(kept)))


def retrain_truth(m: Measurement, truth_id: int, truth: Truth) -> None:
    """Retrains what one further truth asks for; a truth of which too little is left is taken out of the run."""
    n, root = m.settings.n_truth_subsets, m.build.seed
    if truth.kind == "single model" and not m.trainer.weighs_losses:
        logger.info("no truth of single models: the trainer gives no example a weight of its own")
        m.writer.write(f"truth {truth_id}", {})
        return
    n_members = m.n_train - max(1, round(truth.dropped * m.n_train))
    masks = draw_subsets(n, m.n_train, n_members, derive_seed(root, "truth", truth_id))
    if truth.kind == "single model":
        # The seed of checkpoint 0, so that its own training is what is asked about; the weights keep their sum.
        weights = masks.astype(np.float32) * np.float32(m.n_train / n_members)
        seed = int(m.writer.columns("SELECT seed FROM checkpoints WHERE checkpoint_id = 0")["seed"][0])
        outcomes = m.train_weighted(weights, [seed] * n)[:, None]
    else:
        pairs = [(i, j) for i in range(n) for j in range(m.build.n_seeds)]
        seeds = [derive_seed(root, "truth", truth_id, i, j) for i, j in pairs]
        outcomes = m.train_subsets(masks[[i for i, _ in pairs]], seeds).reshape(n, m.build.n_seeds, -1)
    finite = np.isfinite(outcomes).all((1, 2))
    lost = m.lost("truths", f"{truth.kind}, {truth.dropped:.0%} dropped", int((~finite).sum()))
    if finite.sum() < MIN_SUBSETS:
        logger.warning("only %d of %d retrainings of truth %d did not diverge", finite.sum(), n, truth_id)
        gone = [(f"DELETE FROM {table} WHERE truth_id = ?", [truth_id]) for table in ("truths", "truth_lds")]
        m.writer.write(f"truth {truth_id}", {}, lost, gone)
        return
    masks, outcomes = masks[finite], outcomes[finite]
    n, n_seeds = outcomes.shape[:2]
    removed: list[tuple[str, list[Any]]] = [("DELETE FROM truths WHERE truth_id = ?", [truth_id])]
    stored = m.writer.columns("SELECT kind, dropped, n_subsets, n_seeds FROM truths WHERE truth_id = ?", [truth_id])
    if list(zip(*stored.values(), strict=True)) != [(truth.kind, truth.dropped, n, n_seeds)]:
        # What another measurement has found against other subsets; the same settings give the same subsets.
        removed.append(("DELETE FROM truth_lds WHERE truth_id = ?", [truth_id]))
    ceiling = or_null(noise_ceiling(outcomes[:, :, m.reporting]))
    fixed = fixed_counts(masks, train_classes(m.writer))
    at_fixed = None if fixed is None else or_null(noise_ceiling(fixed.residuals(outcomes)[:, :, m.reporting]))
    row = {"kind": truth.kind, "dropped": truth.dropped, "n_subsets": n, "n_seeds": n_seeds, "noise_ceiling": ceiling}
    tables: Tables = {
        "truths": columns_of([{"truth_id": truth_id, **row, "fixed_ceiling": at_fixed}]),
        "truth_subsets": {"truth_id": np.full(n, truth_id), "subset": np.arange(n), "mask": pack_masks(masks)},
        "truth_outcomes": {
            "truth_id": np.full(outcomes.size, truth_id),
            "subset": np.repeat(np.arange(n), n_seeds * m.n_test),
            "seed": np.tile(np.repeat(np.arange(n_seeds), m.n_test), n),
            "test_idx": np.tile(np.arange(m.n_test), n * n_seeds),
            "model_output": outcomes.reshape(-1),
        },
    }
    m.writer.write(f"truth {truth_id}", tables, lost, removed)
