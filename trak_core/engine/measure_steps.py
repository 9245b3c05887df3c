"""The steps of measuring every method of a run, each made of blocks that are computed and written once."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.engine.checkpoints import load_checkpoints, load_logs
from trak_core.engine.evidence_step import columns_of, lds_columns, or_null
from trak_core.engine.measure_settings import MeasureSettings, Truth
from trak_core.engine.progress import ProgressReporter, Step, run_blocks
from trak_core.engine.scoring import CHECKPOINT_COUNTS, usable_slope
from trak_core.engine.settings import BuildSettings
from trak_core.errors import (
    NonFiniteGradientError,
    OutOfMemoryError,
    SingularKernelError,
    TrakCoreError,
)
from trak_core.evidence import (
    MIN_SUBSETS,
    Cost,
    calibration_slope,
    choose_tests,
    lds_interval,
    lds_per_test,
    measure_lds,
    measured_cost,
    midpoints,
    noise_ceiling,
    noise_ceiling_per_test,
    predicted_outcomes,
    removal_weights,
    summarize_removal,
)
from trak_core.methods import METHODS, Examples, Ledger, Material, MethodInfo, Scores, Tuning
from trak_core.seeds import derive_seed
from trak_core.store.class_influence import class_influence_columns
from trak_core.store.files import RunFiles
from trak_core.store.fingerprints import score_fingerprint
from trak_core.store.ledger import read_masks, read_outcomes
from trak_core.store.masks import pack_masks, unpack_masks
from trak_core.store.run_tables import method_columns, score_tables, self_influence_columns
from trak_core.store.writer import StoreWriter
from trak_core.subjects import Subject
from trak_core.training import (
    Ensemble,
    diverged,
    draw_half_subsets,
    draw_subsets,
    train_ensemble,
    train_reweighted,
)

__all__ = ["MeasureSteps", "plan"]

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]
MODELS_AT_ONCE = 100
PUBLISH_EVERY_SECONDS = 60
N_FLIP_ROUNDS = 4
TRUTH_BOOTSTRAP = 200
"""Resamples for the intervals of further truths, of which there are many."""
SECONDS = {"magic": 120.0, "influence_exact": 90.0, "influence_cg": 40.0, "datamodel_lasso": 50.0, "trak_dropout": 8.0}
"""What the slow methods take on two CPU cores with the digits recipe; the others take a few seconds."""


def plan(settings: MeasureSettings, methods: list[str]) -> list[Step]:
    """The steps with their proportions, measured on two CPU cores with the digits recipe."""
    n_truths = len(settings.truths) if settings.n_truth_subsets else 0
    # Of two methods at least: the best and nearest neighbours, the run's own and random numbers where they differ.
    n_removals = 4 * len(settings.removal_sizes) if settings.n_removal_tests else 0
    models = settings.n_removal_tests * settings.n_removal_seeds
    steps = [
        Step("datamodels", "retraining on more random halves", 1, 0.02 * settings.n_datamodel_subsets + 0.1, False),
        Step("truths", "retraining on other shares of the data", max(1, n_truths), 8.0 * n_truths + 0.1, False),
    ]
    for method in methods:
        title = METHODS[method].info.title
        steps.append(Step(f"method {method}", f"measuring {title}", 1, SECONDS.get(method, 5.0), False))
    steps.append(
        Step("removal", "removing and retraining", max(1, n_removals), 0.04 * models * n_removals + 0.1, False)
    )
    steps.append(
        Step("flips", "searching the smallest sets that flip an answer", N_FLIP_ROUNDS, 0.04 * models + 0.1, False)
    )
    return steps


@dataclass(frozen=True)
class _Answers:
    """What retrained models say of test examples.

    Attributes:
        margins: of the labels `[n_models, n_tests]`, NaN for models that diverged.
        right: whether the label is the answer, bool `[n_models, n_tests]`.
    """

    margins: Floats
    right: NDArray[np.bool_]


class MeasureSteps:
    """One measurement under way.

    Args:
        settings: of the measurement.
        build: settings of the run.
        subject: data, model, task and training settings.
        files: of the run.
        writer: the working store, with everything that is published.
    """

    def __init__(
        self,
        settings: MeasureSettings,
        build: BuildSettings,
        subject: Subject,
        files: RunFiles,
        writer: StoreWriter,
    ) -> None:
        self.settings = settings
        self.build = build
        self.subject = subject
        self.files = files
        self.writer = writer
        dataset = subject.dataset
        self.train = self._examples(dataset.train.inputs, dataset.train.labels)
        self.test = self._examples(dataset.test.inputs, dataset.test.labels)
        self.n_train, self.n_test = len(self.train), len(self.test)
        self.tuning = np.zeros(self.n_test, dtype=bool)
        self.tuning[writer.meta("tuning_tests") or []] = True
        # With very few test examples none are set apart, and settings are chosen on all of them.
        self.chosen_on = self.tuning if self.tuning.any() else ~self.tuning

    def _examples(self, inputs: NDArray[Any], labels: NDArray[np.int64]) -> Examples:
        device = self.build.device
        return Examples(torch.from_numpy(inputs).to(device), torch.from_numpy(labels).to(device))

    @property
    def methods(self) -> list[str]:
        """Names of the methods to measure."""
        return list(self.settings.methods)

    @property
    def _is_every_method(self) -> bool:
        return self.settings.methods == tuple(METHODS)

    def check_needs(self) -> None:
        """Refuses a method that was asked for by name and cannot be had, before anything is begun."""
        if not self._is_every_method:
            material = self._material()
            for name in self.methods:
                material.require(name, METHODS[name].info.needs)

    def run(self, progress: ProgressReporter, fingerprint: str, published_at: float) -> None:
        """Does what is left to do, in order, and publishes along the way."""
        self.progress = progress
        self._published_at = published_at
        blocks: dict[str, dict[str, Callable[[], None]]] = {
            "datamodels": {"datamodels": self._datamodels},
            "truths": {f"truth {i}": partial(self._truth, i, truth) for i, truth in self._truths()},
        }
        for method in self.methods:
            blocks[f"method {method}"] = {f"method {method}": partial(self._method, method)}
        for name, of_step in blocks.items():
            self._step(name, of_step)
        self.publish()
        if self.settings.n_removal_tests and not self.writer.has("removals anew"):
            # Those of another measurement may be of other test examples and other seeds.
            counted = (self.writer.meta("n_diverged") or {}).items()
            made = {
                "removal_method": self.removal_methods[0],
                "removal_sizes": list(self.settings.removal_sizes),
                "n_diverged": {name: count for name, count in counted if not name.startswith("removals")},
            }
            self.writer.write("removals anew", {}, made, [("DELETE FROM removals", [])])
        self._step("removal", dict(self._removals()))
        flips: dict[str, Callable[[], None]] = {}
        for round_number in range(N_FLIP_ROUNDS):
            flips[f"flips {round_number}"] = partial(self._narrow_flips, round_number)
        self._step("flips", flips)
        if not self.writer.has("done"):
            every = {"measured_every_method": True} if self._is_every_method else {}
            self.writer.write("done", {}, {"measured": fingerprint, **every})
        self.writer.publish()
        self.writer.finish()

    def _step(self, name: str, blocks: dict[str, Callable[[], None]]) -> None:
        run_blocks(self.writer, self.progress, name, blocks, self._done)

    def _done(self) -> None:
        self.progress.advance()
        if time.monotonic() - self._published_at > PUBLISH_EVERY_SECONDS:
            self.publish()

    def publish(self) -> None:
        """Shows readers what is there."""
        self.writer.publish()
        self._published_at = time.monotonic()

    # --- what there is to score with ----------------------------------------------------------------------

    @cached_property
    def checkpoints(self) -> Ensemble:
        """The checkpoints of the run."""
        return load_checkpoints(self.writer, self.files, self.subject, self.build.device)

    @cached_property
    def material(self) -> Material:
        """All that methods may use: fitting subsets and tuning test examples, never those that are reported on."""
        return self._material()

    def _material(self) -> Material:
        masks, outcomes = self._ledger("fit")
        fit = torch.from_numpy(masks)
        actual, tuned = outcomes.mean(1), self.chosen_on

        def quality(predicted: Tensor) -> float:
            lds = lds_per_test(predicted.double().cpu().numpy()[:, tuned], actual[:, tuned])
            return float(np.nanmean(lds)) if np.isfinite(lds).any() else float("nan")

        more, more_outcomes = self._datamodel_ledger()
        known = torch.cat([fit, more])
        answers = torch.cat([torch.from_numpy(actual.astype(np.float32)), more_outcomes])
        device = self.build.device
        return Material(
            task=self.subject.task,
            architecture=self.checkpoints.architecture,
            states=[self.checkpoints.state_dict(i) for i in range(len(self.checkpoints))],
            train=self.train,
            test=self.test,
            seed=derive_seed(self.build.seed, "methods"),
            weight_decay=self.subject.training.weight_decay,
            logs=load_logs(self.writer, self.files, self.subject, device),
            ledger=Ledger(known.to(device), answers.to(device)),
            tuning=Tuning(fit.to(device), quality),
        )

    def _ledger(self, role: str) -> tuple[NDArray[np.bool_], Floats]:
        """Masks bool `[n_subsets, n_train]` and outcomes `[n_subsets, n_seeds, n_test]` of a role."""
        masks = read_masks(self.writer, role, self.n_train)
        return masks, read_outcomes(self.writer, role, self.build.n_seeds, self.n_test)

    def _train_subsets(self, masks: NDArray[np.bool_], seeds: list[int]) -> Floats:
        """Margins `[n_models, n_test]` after retraining; NaN for models that diverged."""
        return self._in_parts(
            len(seeds),
            lambda part: train_ensemble(
                self.subject.make_model,
                self.subject.task,
                self.train.inputs,
                self.train.asked,
                masks[part],
                seeds[part],
                self.subject.training,
                allow_diverged=True,
            ),
        ).margins

    def _train_reweighted(
        self, weights: NDArray[np.float32], seeds: list[int], tests: NDArray[np.int64] | None = None
    ) -> "_Answers":
        """Answers after training with loss weights `[n_models, n_train]`; for `tests` only, where they are given."""
        return self._in_parts(
            len(seeds),
            lambda part: train_reweighted(
                self.subject.make_model,
                self.subject.task,
                self.train.inputs,
                self.train.asked,
                weights[part],
                seeds[part],
                self.subject.training,
            ),
            tests,
        )

    def _in_parts(
        self, n_models: int, train: Callable[[slice], Ensemble], tests: NDArray[np.int64] | None = None
    ) -> "_Answers":
        inputs, labels = self.test.inputs, self.test.asked
        if tests is not None:
            inputs, labels = inputs[tests], labels[tests]
        margins, right = [], []
        for start in range(0, n_models, MODELS_AT_ONCE):
            ensemble = train(slice(start, start + MODELS_AT_ONCE))
            logits = ensemble.logits(inputs)
            found = self.subject.task.model_output(logits, labels.expand(len(logits), -1)).cpu().numpy()
            found[diverged(ensemble)] = np.nan
            margins.append(found.astype(np.float64))
            right.append((logits.argmax(-1) == labels).cpu().numpy())
        return _Answers(np.concatenate(margins), np.concatenate(right))

    # --- more retrained models ----------------------------------------------------------------------------

    def _datamodels(self) -> None:
        n = self.settings.n_datamodel_subsets
        masks = draw_half_subsets(n, self.n_train, derive_seed(self.build.seed, "datamodel subsets"))
        seeds = [derive_seed(self.build.seed, "datamodel", i) for i in range(n)]
        outcomes = self._train_subsets(masks, seeds) if n else np.empty((0, self.n_test))
        finite = np.isfinite(outcomes).all(1)
        kept = np.flatnonzero(finite)
        self.writer.write(
            "datamodels",
            {
                "datamodel_subsets": {"subset": kept, "mask": pack_masks(masks[kept])},
                "datamodel_outcomes": {
                    "subset": np.repeat(kept, self.n_test),
                    "test_idx": np.tile(np.arange(self.n_test), len(kept)),
                    "model_output": outcomes[finite].reshape(-1),
                },
            },
            self._lost("datamodels", "random halves", int((~finite).sum())),
        )

    def _lost(self, kind: str, what: str, n: int) -> dict[str, Any]:
        """The entry of `meta` that counts retrainings that diverged and were left out."""
        counted = {**(self.writer.meta("n_diverged") or {}), f"{kind}: {what}": n}
        return {"n_diverged": {name: count for name, count in counted.items() if count}}

    def _datamodel_ledger(self) -> tuple[Tensor, Tensor]:
        blobs = self.writer.columns("SELECT mask FROM datamodel_subsets ORDER BY subset")["mask"]
        outcomes = self.writer.columns("SELECT model_output FROM datamodel_outcomes ORDER BY subset, test_idx")
        masks = unpack_masks(blobs, self.n_train)
        values = outcomes["model_output"].astype(np.float32).reshape(len(masks), self.n_test)
        return torch.from_numpy(masks), torch.from_numpy(values)

    def _truths(self) -> list[tuple[int, Truth]]:
        return list(enumerate(self.settings.truths)) if self.settings.n_truth_subsets else []

    def _truth(self, truth_id: int, truth: Truth) -> None:
        n, root = self.settings.n_truth_subsets, self.build.seed
        n_members = self.n_train - max(1, round(truth.dropped * self.n_train))
        masks = draw_subsets(n, self.n_train, n_members, derive_seed(root, "truth", truth_id))
        if truth.kind == "single model":
            # The seed of checkpoint 0, so that its own training is what is asked about; the weights keep their sum.
            weights = masks.astype(np.float32) * np.float32(self.n_train / n_members)
            seed = int(self.writer.columns("SELECT seed FROM checkpoints WHERE checkpoint_id = 0")["seed"][0])
            outcomes = self._train_reweighted(weights, [seed] * n).margins[:, None]
        else:
            pairs = [(i, j) for i in range(n) for j in range(self.build.n_seeds)]
            seeds = [derive_seed(root, "truth", truth_id, i, j) for i, j in pairs]
            outcomes = self._train_subsets(masks[[i for i, _ in pairs]], seeds).reshape(n, self.build.n_seeds, -1)
        finite = np.isfinite(outcomes).all((1, 2))
        lost = self._lost("truths", f"{truth.kind}, {truth.dropped:.0%} dropped", int((~finite).sum()))
        if finite.sum() < MIN_SUBSETS:
            logger.warning("only %d of %d retrainings of truth %d did not diverge", finite.sum(), n, truth_id)
            gone = [(f"DELETE FROM {table} WHERE truth_id = ?", [truth_id]) for table in ("truths", "truth_lds")]
            self.writer.write(f"truth {truth_id}", {}, lost, gone)
            return
        masks, outcomes = masks[finite], outcomes[finite]
        n, n_seeds = outcomes.shape[:2]
        removed: list[tuple[str, list[Any]]] = [("DELETE FROM truths WHERE truth_id = ?", [truth_id])]
        stored = self.writer.columns(
            "SELECT kind, dropped, n_subsets, n_seeds FROM truths WHERE truth_id = ?", [truth_id]
        )
        if list(zip(*stored.values(), strict=True)) != [(truth.kind, truth.dropped, n, n_seeds)]:
            # What another measurement has found against other subsets; the same settings give the same subsets.
            removed.append(("DELETE FROM truth_lds WHERE truth_id = ?", [truth_id]))
        ceiling = noise_ceiling(outcomes[:, :, ~self.tuning])
        self.writer.write(
            f"truth {truth_id}",
            {
                "truths": {
                    "truth_id": [truth_id],
                    "kind": [truth.kind],
                    "dropped": [truth.dropped],
                    "n_subsets": [n],
                    "n_seeds": [n_seeds],
                    "noise_ceiling": [or_null(ceiling)],
                },
                "truth_subsets": {
                    "truth_id": np.full(n, truth_id),
                    "subset": np.arange(n),
                    "mask": pack_masks(masks),
                },
                "truth_outcomes": {
                    "truth_id": np.full(outcomes.size, truth_id),
                    "subset": np.repeat(np.arange(n), n_seeds * self.n_test),
                    "seed": np.tile(np.repeat(np.arange(n_seeds), self.n_test), n),
                    "test_idx": np.tile(np.arange(self.n_test), n * n_seeds),
                    "model_output": outcomes.reshape(-1),
                },
            },
            lost,
            removed,
        )

    def _truth_ledger(self, truth_id: int) -> tuple[NDArray[np.bool_], Floats]:
        blobs = self.writer.columns("SELECT mask FROM truth_subsets WHERE truth_id = ? ORDER BY subset", [truth_id])[
            "mask"
        ]
        values = self.writer.columns(
            "SELECT model_output FROM truth_outcomes WHERE truth_id = ? ORDER BY subset, seed, test_idx", [truth_id]
        )["model_output"]
        masks = unpack_masks(blobs, self.n_train)
        if not len(masks):
            return masks, np.empty((0, self.n_test))
        return masks, values.astype(np.float64).reshape(len(masks), -1, self.n_test).mean(1)

    # --- methods ------------------------------------------------------------------------------------------

    def _method(self, name: str) -> None:
        """Scores, cost and LDS of one method; a method that cannot be had is written down with its reason."""
        info = METHODS[name].info
        try:
            self.material.require(name, info.needs)
            with measured_cost() as cost, _own_errors(name):
                scores = METHODS[name].fit(self._given(info))
                dense = _dense(scores)
            _check_finite(name, scores, dense)
        except TrakCoreError as error:
            if not self._is_every_method:
                raise  # it was asked for by name
            logger.warning("method %s is left out: %s", name, error)
            left_out = {**(self.writer.meta("methods_left_out") or {}), name: str(error)}
            self.writer.write(f"method {name}", {}, {"methods_left_out": left_out})
            return
        tables, removed = self._tables(info, scores, dense, cost)
        left_out = {key: why for key, why in (self.writer.meta("methods_left_out") or {}).items() if key != name}
        self.writer.write(f"method {name}", tables, {"methods_left_out": left_out}, removed)

    def _given(self, info: MethodInfo) -> Material:
        return self.material if info.max_checkpoints is None else self.material.first(info.max_checkpoints)

    def _tables(
        self, info: MethodInfo, scores: Scores, dense: NDArray[np.float32], cost: Cost
    ) -> tuple[dict[str, dict[str, Any]], list[tuple[str, list[Any]]]]:
        """Rows of a method, and statements that remove what the run had of it before."""
        name, factor = info.name, None if info.is_baseline else self._calibration(dense)
        scaled = dense * np.float32(factor or 1)
        of_fewer = {
            m: _dense(scores.first(m)) * np.float32(factor or 1) for m in _checkpoint_counts(scores.n_checkpoints)
        }
        stored = self._stored_scores(name, scaled)
        by_count = {**of_fewer, scores.n_checkpoints: scaled if stored is None else stored}
        tables: dict[str, dict[str, Any]] = {"truth_lds": self._truth_rows(name, by_count)}
        if stored is not None:
            # They may also explain other classes, and stay as they are; here the method gets what it costs.
            of_one = cost.seconds / max(1, scores.n_checkpoints)
            return tables, [
                (
                    "UPDATE lds_summary SET peak_megabytes = ?, seconds = ? * greatest(n_checkpoints, 1) "
                    "WHERE method = ?",
                    [cost.peak_megabytes, of_one, name],
                ),
                ("DELETE FROM truth_lds WHERE method = ? AND truth_id < ?", [name, len(self._truths())]),
            ]
        masks, actual, ceiling, ceilings = self._reported
        reporting = ~self.tuning
        summary: list[dict[str, Any]] = []
        for m, values in by_count.items():
            predicted = predicted_outcomes(values, masks)
            evidence = measure_lds(predicted, actual, self.build.seed, reporting)
            share = m / scores.n_checkpoints if scores.n_checkpoints else 1
            summary.append(
                {
                    "method": name,
                    "n_checkpoints": m,
                    "lds": or_null(evidence.mean),
                    "ci_low": or_null(evidence.ci_low),
                    "ci_high": or_null(evidence.ci_high),
                    "noise_ceiling": or_null(ceiling),
                    "n_subsets": len(masks),
                    "n_seeds": self.build.n_seeds,
                    "seconds": cost.seconds * share,
                    "calibration_slope": or_null(calibration_slope(predicted[:, reporting], actual[:, reporting])),
                    "peak_megabytes": cost.peak_megabytes,
                }
            )
        errors = _errors(scores, factor)
        per_test = lds_per_test(predicted_outcomes(scaled, masks), actual)
        low, high = lds_interval(per_test, len(masks))
        rows = lds_columns(per_test, low, high, ceilings)
        tables |= {
            "lds_summary": columns_of(summary),
            "lds": columns_of([{"method": name, "test_idx": i, **row} for i, row in enumerate(rows)]),
            "methods": method_columns(
                name,
                info.title,
                info.description,
                self._fingerprint(name),
                is_baseline=info.is_baseline,
                seconds=cost.seconds,
                calibration=factor,
                settings=scores.settings,
            ),
            **score_tables(name, scaled, errors=errors),
            "class_influence": class_influence_columns(
                name, self.test.asked.cpu().numpy(), lambda test_idx: scaled[test_idx]
            ),
        }
        own = scores.self_influence()
        if own is not None:
            tables["self_influence"] = self_influence_columns(name, own.double().cpu().numpy())
        return tables, [(f"DELETE FROM {table} WHERE method = ?", [name]) for table in (*tables, "removals")]

    @cached_property
    def _reported(self) -> tuple[NDArray[np.bool_], Floats, float, Floats]:
        """The reporting halves: masks, mean outcomes `[n_subsets, n_test]`, and the ceiling of all and of each test."""
        masks, outcomes = self._ledger("eval")
        ceiling = noise_ceiling(outcomes[:, :, ~self.tuning])
        return masks, outcomes.mean(1), ceiling, noise_ceiling_per_test(outcomes)

    def _stored_scores(self, name: str, scores: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Scores that the run holds: from its build, or these very ones from another measurement; None where none."""
        found = self.writer.columns("SELECT settings IS NULL AS built FROM methods WHERE method = ?", [name])["built"]
        if not found.size:
            return None
        stored = self.writer.arrays('SELECT "values" FROM scores WHERE method = ? ORDER BY test_idx', "values", [name])
        return stored if found[0] or np.array_equal(stored, scores) else None

    def _fingerprint(self, method: str) -> str:
        sha256s = self.writer.columns("SELECT sha256 FROM checkpoints ORDER BY checkpoint_id")["sha256"].tolist()
        return score_fingerprint(self.writer.meta("fingerprint"), sha256s, self.writer.meta("ridge"), method)

    def _calibration(self, scores: NDArray[np.float32]) -> float | None:
        masks, outcomes = self._ledger("fit")
        tuned = self.chosen_on
        return usable_slope(calibration_slope(predicted_outcomes(scores[tuned], masks), outcomes.mean(1)[:, tuned]))

    def _truth_rows(self, name: str, by_count: dict[int, NDArray[np.float32]]) -> dict[str, list[Any]]:
        rows: list[dict[str, Any]] = []
        counts = {min(by_count), max(by_count)}
        for truth_id, _ in self._truths():
            masks, actual = self._truth_ledger(truth_id)
            if not len(masks):
                continue  # left out, because retraining diverged
            for m in sorted(counts):
                predicted = predicted_outcomes(by_count[m], masks)
                found = measure_lds(predicted, actual, self.build.seed, ~self.tuning, TRUTH_BOOTSTRAP)
                rows.append(
                    {
                        "truth_id": truth_id,
                        "method": name,
                        "n_checkpoints": m,
                        "lds": or_null(found.mean),
                        "ci_low": or_null(found.ci_low),
                        "ci_high": or_null(found.ci_high),
                    }
                )
        return columns_of(rows) if rows else {"truth_id": []}

    # --- removal ------------------------------------------------------------------------------------------

    @cached_property
    def removal_methods(self) -> list[str]:
        """The best method by LDS, the run's own, nearest neighbours of the class, and random numbers.

        The best is chosen on the tuning test examples, because removal is reported on the others.
        """
        best = self.writer.columns(
            "SELECT method FROM lds WHERE test_idx IN (SELECT unnest(?::INTEGER[])) GROUP BY method "
            "ORDER BY avg(lds) DESC NULLS LAST, method LIMIT 1",
            [np.flatnonzero(self.chosen_on).tolist()],
        )["method"].tolist()
        there = set(self.writer.columns("SELECT method FROM methods")["method"].tolist())
        return list(dict.fromkeys(m for m in (*best, "trak", "nearest", "random") if m in there))

    @cached_property
    def removal_tests(self) -> NDArray[np.int64]:
        """Test examples that the model gets right, drawn from those that are reported on."""
        p = self.checkpoints.logits(self.test.inputs).softmax(-1).mean(0)
        right = (p.argmax(-1) == self.test.asked).cpu().numpy()
        return choose_tests(right & ~self.tuning, self.settings.n_removal_tests, self.build.seed)

    @cached_property
    def _unremoved(self) -> "_Answers":
        """Answers `[n_seeds, n_removal_tests]` of models trained on everything with the seeds of the removals."""
        seeds = self._removal_seeds
        weights = np.ones((len(seeds), self.n_train), dtype=np.float32)
        return self._train_reweighted(weights, seeds, self.removal_tests)

    @property
    def _removal_seeds(self) -> list[int]:
        return [derive_seed(self.build.seed, "removal", i) for i in range(self.settings.n_removal_seeds)]

    def _removals(self) -> Iterator[tuple[str, Callable[[], None]]]:
        if not self.settings.n_removal_tests or not len(self.removal_tests):
            return
        for method in self.removal_methods:
            for k in self.settings.removal_sizes:
                if k < self.n_train:
                    wanted = dict.fromkeys(range(len(self.removal_tests)), k)
                    yield f"removal {method} {k}", partial(self._remove, f"removal {method} {k}", method, wanted)

    def _remove(self, block: str, method: str, wanted: dict[int, int]) -> None:
        """Removes the first k of a method for some of the removal tests, retrains and writes what came out.

        Args:
            block: name of the block.
            method: whose proponents are removed.
            wanted: place among the removal tests to k.
        """
        rows = self.writer.columns(
            "SELECT train_idx FROM topk WHERE method = ? AND side = 'proponent' ORDER BY test_idx, rank",
            [method],
        )
        order = rows["train_idx"].reshape(self.n_test, -1)
        seeds, places = self._removal_seeds, list(wanted)
        removed = [order[self.removal_tests[place], : wanted[place]] for place in places for _ in seeds]
        weights = removal_weights(removed, self.n_train)
        answers = self._train_reweighted(weights, seeds * len(places), self.removal_tests)
        found: list[dict[str, Any]] = []
        n_lost = 0
        for number, place in enumerate(places):
            own = slice(number * len(seeds), (number + 1) * len(seeds))
            result = summarize_removal(
                answers.margins[own, place], answers.right[own, place], self._unremoved.margins[:, place]
            )
            n_lost += len(seeds) - (0 if result is None else result.n_seeds)
            if result is None:
                logger.warning("every model without %d examples of test %d diverged", wanted[place], place)
                continue
            found.append(
                {
                    "method": method,
                    "test_idx": int(self.removal_tests[place]),
                    "k": wanted[place],
                    "model_output": result.model_output,
                    "flipped": result.flipped,
                    "unremoved": result.unremoved,
                    "standard_error": or_null(result.standard_error),
                    "n_seeds": result.n_seeds,
                }
            )
        self.writer.write(
            block, {"removals": columns_of(found)} if found else {}, self._lost("removals", block, n_lost)
        )

    def _narrow_flips(self, round_number: int) -> None:
        """One more halving of the search for the smallest set of the best method that flips an answer."""
        block = f"flips {round_number}"
        if not self.settings.n_removal_tests:
            self.writer.write(block, {})
            return
        method = self.removal_methods[0]
        rows = self.writer.columns("SELECT test_idx, k, flipped FROM removals WHERE method = ?", [method])
        tried: dict[int, dict[int, bool]] = {}
        for test_idx, k, flipped in zip(rows["test_idx"], rows["k"], rows["flipped"], strict=True):
            tried.setdefault(int(test_idx), {})[int(k)] = bool(flipped)
        place = {int(test_idx): i for i, test_idx in enumerate(self.removal_tests)}
        wanted = {place[test_idx]: k for test_idx, k in midpoints(tried).items()}
        if wanted:
            self._remove(block, method, wanted)
        else:
            self.writer.write(block, {})


def _dense(scores: Scores) -> NDArray[np.float32]:
    return np.concatenate([block.float().cpu().numpy() for block in scores.blocks()])


@contextmanager
def _own_errors(method: str) -> Iterator[None]:
    """Turns what linear algebra and memory say into one sentence, so that one method cannot stop all the others."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemoryError(
            f"method {method!r} needs more memory than there is; leave it out with --method."
        ) from error
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise SingularKernelError(
            f"method {method!r} cannot solve its equations ({str(error).splitlines()[0]}); train with weight decay, or "
            "leave it out with --method."
        ) from error


def _check_finite(method: str, scores: Scores, dense: NDArray[np.float32]) -> None:
    own = scores.self_influence()
    wrong = ~np.isfinite(dense).all(1)
    if wrong.any() or (own is not None and not own.isfinite().all()):
        raise NonFiniteGradientError(
            f"method {method!r} gives scores that are not finite for {wrong.sum()} of {len(dense)} test examples, so "
            "that none are kept; training was unstable: lower the learning rate of the recipe."
        )


def _errors(scores: Scores, factor: float | None) -> NDArray[np.float32] | None:
    error = scores.standard_error(slice(None))
    return None if error is None else error.float().cpu().numpy() * np.float32(factor or 1)


def _checkpoint_counts(n: int) -> list[int]:
    return [m for m in CHECKPOINT_COUNTS if m < n]
