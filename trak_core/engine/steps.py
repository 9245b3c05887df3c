"""The steps of a build, each made of blocks that are computed, written and never computed again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.engine.clock import Clock, minutes_given
from trak_core.engine.evidence_step import Reported, evidence_tables, train_classes
from trak_core.engine.label_step import signal_tables, suspect_tables
from trak_core.engine.ledger_steps import MOST_PREDICTED, LedgerSteps
from trak_core.engine.map_step import map_tables
from trak_core.engine.method_context import kernel_proj_dim, lds_tuning, run_context, stored_loss_norms
from trak_core.engine.pace import Pace
from trak_core.engine.progress import ProgressReporter
from trak_core.engine.quality_step import model_quality
from trak_core.engine.scoring import score_run
from trak_core.engine.settings import BuildSettings
from trak_core.engine.training_step import write_checkpoints
from trak_core.engine.work import Kind, Work
from trak_core.evidence.lds import tuning_tests
from trak_core.evidence.model_quality import ModelQuality
from trak_core.inputs import take
from trak_core.methods import DEFAULT_RIDGE, Examples, MethodContext, best, ridge_qualities
from trak_core.modalities import Split, encoding_metadata
from trak_core.projection import SjltProjection, SketchMap
from trak_core.seeds import derive_seed
from trak_core.store.files import RunFiles
from trak_core.store.local_paths import without_paths
from trak_core.store.media_rows import media_columns
from trak_core.store.run_tables import example_columns, feature_columns, joined, prediction_columns, run_meta
from trak_core.store.targets import listed_targets, target_columns
from trak_core.store.writer import StoreWriter
from trak_core.subjects import Subject
from trak_core.subjects.planting import PlantedErrors
from trak_core.tasks import Answer, Targets

SCORES_ARE, FITTED, UNFITTED = "scores_are", "fitted", "not fitted"
"""Key of meta: whether the ridge and the scale of scores were chosen on retrained models."""
PACE = "pace"
"""Key of meta: what parts of the build take."""
MEASURED = "n_subsets_measured"
"""Key of meta: how many subsets the evidence is over."""

FROM_THE_LEDGER = ("fit", "ridge", "eval", "lds")
"""Steps that need models retrained on random halves; a subject that trains no models goes without."""


class BuildSteps(LedgerSteps):
    """One build under way.

    Args:
        build, subject, files, writer: as `WorkingRun`.
        planted: which of its train labels were made wrong on purpose.
        metadata: what provenance tells besides the settings; "title" names the run for people.
        progress, clock, pace: as `LedgerSteps`.
    """

    def __init__(
        self,
        build: BuildSettings,
        subject: Subject,
        files: RunFiles,
        writer: StoreWriter,
        planted: PlantedErrors,
        metadata: Mapping[str, Any],
        progress: ProgressReporter,
        clock: Clock,
        pace: Pace,
    ) -> None:
        super().__init__(build, subject, files, writer, progress, clock, pace)
        self.planted, self.metadata = planted, metadata

    def run(self) -> None:
        """Does what is left to do, in order, and shows readers what is there along the way.

        Data, a first model and suspects come first, then the other checkpoints, scores and the map; evidence comes
        last, as far as the clock lets it.
        """
        n_models, first = self.build.n_checkpoints, n_first_models(self.build, self.subject)
        self._do("data", [self._work(Kind.DESCRIBE)])
        self.tell_minutes()
        self._do("model", self._trained(0, first))
        self._do("suspects", [self._work(Kind.LABEL_FOLD)])
        self._do("checkpoints", self._trained(first, n_models))
        self._do("features", [self._work(Kind.FEATURIZE, checkpoint=i) for i in range(n_models)])
        self.add_evidence()
        self.writer.publish()
        self.writer.finish()

    def add_evidence(self, adds_up: bool = False) -> None:
        """Scores, the map and evidence: all of it once, and more evidence whenever it is called with more time.

        `adds_up` is True where a later call is expected, so that even the first of a few halves are worth having.

        The ridge and the scale of scores are chosen on the first subsets; where there is no time to retrain these, the
        usual ridge serves, and the scores are made anew once there is.
        """
        retrains = self.build.n_seeds > 0
        n_fit = min(self.build.n_fit, self.build.n_subsets)
        if retrains:
            self._retrain_while_there_is_time("fit", range(n_fit), adds_up)
        all_retrained = retrains and self._n_retrained(range(self.build.n_fit)) == self.build.n_fit
        is_fitted = all_retrained and self._is_enough("fit")
        if self.writer.meta(SCORES_ARE) != (state := FITTED if is_fitted else UNFITTED):
            self._do("ridge", [self._work(Kind.GRAM)] if is_fitted else [])
            self._do("scores", [self._work(Kind.SCORE, state=state)])
            self._do("signals", [self._work(Kind.SIGNALS, state=state)])
        if not self.writer.meta("map"):
            self._do("map", [self._work(Kind.MAP)])
        if is_fitted:
            self._retrain_while_there_is_time("eval", range(n_fit, self.build.n_subsets))
            n_measured = len(self.ledger.masks("eval"))
            if self.writer.meta(MEASURED) != n_measured and self._is_enough("eval"):
                self._do("lds", [self._work(Kind.MEASURE, state=str(n_measured))])
        self._close()

    def tell_minutes(self) -> None:
        """Adds those of this start to what the run was given; nothing for a run that has none."""
        if (before := self.writer.meta("minutes")) is not None:
            self.writer.tell({"minutes": minutes_given(before, self.clock)})

    def _trained(self, first: int, stop: int) -> list[Work]:
        """Training checkpoints, as many at a time as the trainer takes, and asking them; given ones come together."""
        size = stop if self.subject.checkpoints else self.trainer.at_once
        parts = [range(start, min(start + size, stop)) for start in range(first, stop, size)]
        return [self._work(kind, rows=part) for part in parts for kind in (Kind.TRAIN, Kind.PREDICT)]

    def _one(self, work: Work) -> None:
        """Does one task and writes its block."""
        steps: dict[Kind, Callable[..., None]] = {
            Kind.DESCRIBE: self._data,
            Kind.TRAIN: self._checkpoints,
            Kind.PREDICT: self._checkpoint_predictions,
            Kind.RETRAIN: self._retrain,
            Kind.FEATURIZE: self._features,
            Kind.GRAM: self._ridge,
            Kind.SCORE: self._scores,
            Kind.LABEL_FOLD: self._suspects,
            Kind.SIGNALS: self._signals,
            Kind.MEASURE: self._lds,
            Kind.MAP: self._map,
        }
        steps[work.kind](*(each for each in (work.checkpoint, work.rows, work.state) if each is not None))

    # --- data and models ----------------------------------------------------------------------------------

    def _data(self) -> None:
        dataset, names = self.subject.dataset, self.subject.dataset.class_names
        examples = [self._examples("train", dataset.train), self._examples("test", dataset.test)]
        media = [media_columns("train", dataset.train.further or ()), media_columns("test", dataset.test.further or ())]
        meta = run_meta(
            **{**self.metadata, **asdict(self.build), "ridge": DEFAULT_RIDGE},  # until it is chosen
            modality=dataset.modality,
            class_names=names,
            task=self.subject.task.name,
            has_answer=self.subject.task.has_answer,
            training=self.subject.training_facts,
            data_fingerprint=dataset.fingerprint(),
            method="trak",
            encoding=encoding_metadata(dataset.encoding),
            tuning_tests=np.flatnonzero(self.tuning_tests).tolist(),
        )
        tables = {
            "examples": joined(examples),
            "media": joined(media),
            # Those of a ledger that grows come with its blocks.
            "subsets": self._subset_rows(range(0 if self.build.grows else self.build.n_subsets)),
            "planted_errors": {"train_idx": self.planted.train_idx, "true_label": self.planted.true_label},
        }
        further = self.subject.task.target_names(names)
        if self.subject.task.has_classes:
            tables["targets"] = target_columns(dataset.test.labels, names)
        elif further:
            tables["targets"] = listed_targets([[name, *further] for name in examples[1]["label_name"]])
        self.writer.write("data", tables, without_paths(meta))
        self.progress.advance()

    def _examples(self, name: str, split: Split) -> dict[str, Any]:
        names, has_classes = self.subject.dataset.class_names, self.subject.task.has_classes
        return example_columns(
            name,
            split.labels if has_classes else None,
            [names[label] if has_classes else self.subject.task.in_words(label) for label in split.labels],
            texts=split.texts,
            thumbnails=split.thumbnails,
            origins=split.origins,
        )

    @cached_property
    def tuning_tests(self) -> NDArray[np.bool_]:
        """Test examples that settings are chosen on, bool `[n_test]`; nothing is reported on them."""
        return tuning_tests(self.n_test, self.build.seed)

    def _checkpoints(self, part: range) -> None:
        """Trains as many models as the trainer takes at once, or takes those that were given."""
        write_checkpoints(self, part, self._advance(len(part)))
        self.forget_checkpoints()

    def _checkpoint_predictions(self, part: range) -> None:
        models, parts, shares = self.load_checkpoints(part), [], []
        sides = {"train": (self.subject.task, self.train), "test": (self.subject.task.query, self.test)}
        for name, (task, examples) in sides.items():
            targets, outputs = examples.targets, models.outputs(task, examples.inputs)  # [n_checkpoints, n, ...]
            answers = models.answers(task, outputs)
            shares.append([_share(task.agrees(answer, targets)) for answer in answers] or [None] * len(models))
            values, losses = (_array(models.of_each(what, task, outputs, targets)) for what in ("model_output", "loss"))
            of_classes = _of_classes(answers, targets)
            parts.append(prediction_columns(part, name, values, loss=losses, **of_classes))
        statement = "UPDATE checkpoints SET train_accuracy = ?, test_accuracy = ? WHERE checkpoint_id = ?"
        measured = [(statement, [*of_model, i]) for i, of_model in zip(part, zip(*shares, strict=True), strict=True)]
        tables, is_last = {"predictions": joined(parts)}, part.stop == self.build.n_checkpoints
        told: dict[str, Any] = {}
        if part.start == 0 or is_last:  # told of the first model as soon as it is there, and of all of them together
            if part.start:
                every = self.load_checkpoints()
                answers = every.answers(task, every.outputs(task, self.test.inputs))
            known = ModelQuality.from_metadata(self.writer.meta("model_quality"))
            # `task` and `answers` are those of the test side, which is last.
            told["model_quality"] = model_quality(self.subject.dataset, task, answers, self.build.seed, known)
        self.writer.write(f"predictions {part.start}", tables, told, first=measured)

    @cached_property
    def context(self) -> MethodContext:
        """What methods may use, without the outcomes of the ledger."""
        return run_context(
            self.subject, self.checkpoints, self.train, self.test, self.build.seed, kernel_proj_dim(self.subject)
        )

    # --- features and scores ------------------------------------------------------------------------------

    def _features(self, checkpoint_id: int) -> None:
        seed = derive_seed(self.build.seed, "projection", checkpoint_id)
        context, parts = self.context, []
        weights = context.states[checkpoint_id]
        feature_map = SketchMap(context.gradients.layers, SjltProjection(self.build.proj_dim, seed))
        sides = {"train": (context.gradients, self.train), "test": (context.query_gradients, self.test)}
        for name, (gradients, examples) in sides.items():
            phi, norm, q = gradients.projected(weights, examples.inputs, examples.targets, feature_map)
            parts.append(feature_columns(checkpoint_id, name, _array(q), _array(norm), _array(phi)))
        self.writer.write(f"features {checkpoint_id}", {"features": joined(parts)})
        self.progress.advance()

    def _ridge(self) -> None:
        # With very few test examples none are set apart, and the ridge is chosen on all of them.
        chosen_on = self.tuning_tests if self.tuning_tests.any() else ~self.tuning_tests
        masks, outcomes = self.ledger.masks("fit"), self.ledger.outcomes("fit").mean(1)[:, chosen_on]
        asked = Examples(take(self.test.inputs, chosen_on), self.test.targets[chosen_on])
        tuning = lds_tuning(masks, outcomes, self.build.device)
        found = ridge_qualities(replace(self.context, test=asked, tuning=tuning), self.progress.advance)
        told = {f"{ridge:g}": lds for ridge, lds in found.items()}
        self.writer.write("ridge", {}, {"ridge": best(found, DEFAULT_RIDGE), "lds_by_ridge_on_fit_subsets": told})

    def _scores(self, state: str) -> None:
        task = self.subject.task.query
        norms = stored_loss_norms(self.writer, self.n_train, self.build.device)
        tables, meta = score_run(
            replace(self.context, ridge=self.writer.meta("ridge"), loss_norms=norms),
            Targets.of(task, self.checkpoints.outputs(task, self.test.inputs)[0], self.test.targets),
            self.ledger,
            self.masks[:MOST_PREDICTED] if self.build.grows else self.masks,
            self.tuning_tests,
            self.score_fingerprint,
            self.progress.advance,
        )
        methods = tables["methods"]["method"]
        of_method = [table for table, columns in tables.items() if "method" in columns]
        anew = [(f"DELETE FROM {table} WHERE method = ?", [method]) for table in of_method for method in methods]
        anew.append(("DELETE FROM checkpoint_predictions", []))
        self.writer.write(f"scores {state}", tables, {**meta, SCORES_ARE: state}, anew)

    # --- labels -------------------------------------------------------------------------------------------

    def _suspects(self) -> None:
        tables, meta = suspect_tables(self, lambda share: self.progress.advance(share / 2))
        self.writer.write(str(Kind.LABEL_FOLD), tables, meta)

    def _signals(self, state: str) -> None:
        tables = signal_tables(self)
        signals = dict.fromkeys(tables["suspects"]["signal"]) if "suspects" in tables else ()
        anew = [("DELETE FROM suspects WHERE signal = ?", [signal]) for signal in signals]
        self.writer.write(f"signals {state}", tables, first=anew)
        self.progress.advance()

    # --- evidence -----------------------------------------------------------------------------------------

    def _lds(self, state: str) -> None:
        began, masks = self.progress.seconds_worked, self.ledger.masks("eval")
        outcomes = self.ledger.outcomes("eval")
        reported = Reported.of(masks, outcomes, ~self.tuning_tests, self.build, train_classes(self.writer))
        tables, slope_of_others = evidence_tables(self.writer, reported)
        meta = {"calibration_slope_of_other_targets": slope_of_others, MEASURED: int(state)}
        anew: list[tuple[str, list[Any]]] = [
            (f"DELETE FROM {table}", []) for table in ("lds", "target_lds", "control_comparisons")
        ]
        # With fewer checkpoints methods that were measured apart keep what was found on the shorter ledger.
        columns = tables["lds_summary"]
        anew += [
            ("DELETE FROM lds_summary WHERE method = ? AND (method = 'trak' OR n_checkpoints = ?)", [method, n])
            for method, n in zip(columns["method"], columns["n_checkpoints"], strict=True)
        ]
        self.writer.write(f"lds {state}", tables, meta, anew)
        self._measuring_took(len(masks), self.progress.seconds_worked - began)
        self.progress.advance()

    def _map(self) -> None:
        tables, meta = map_tables(self.writer)
        self.writer.write("map", tables, meta)
        self.progress.advance()

    def _close(self) -> None:
        """Tells that all is done that there was time for, and what more would take."""
        told: dict[str, Any] = {"complete": True, "seconds_spent": self.clock.spent}
        if self.build.grows and self.build.n_seeds:
            n_done = self._n_retrained(range(self.build.n_subsets))
            told |= {
                "n_subsets": n_done,
                "seconds_a_subset": self._pace_of_blocks.seconds_a_unit,
                PACE: asdict(self.pace),
            }
        self.writer.tell(told)
        if not self.build.grows:  # what only more evidence would need serves no one
            self.writer.remove("target_outcomes_by_seed", "checkpoint_predictions")


def n_first_models(settings: BuildSettings, subject: Subject) -> int:
    """Checkpoints that come before suspects: one, where models may take their time; else all."""
    return 1 if settings.grows and not subject.checkpoints else settings.n_checkpoints


def _of_classes(answers: Sequence[Answer], targets: Tensor) -> dict[str, Any]:
    """What models answer of every class, for the table `predictions`; empty where the task has no classes."""
    of_label = [p for answer in answers if (p := answer.probability_of(targets)) is not None]
    if not of_label:
        return {}
    return {
        "p_label": _array(torch.stack(of_label)),
        "predicted": _array(torch.stack([answer.value for answer in answers])),
        "probabilities": _array(torch.stack([a.probabilities for a in answers if a.probabilities is not None])),
    }


def _share(right: Tensor | None) -> float | None:
    return None if right is None else float(right.float().mean())


def _array(values: Tensor) -> NDArray[Any]:
    return values.cpu().numpy()
