"""The steps of a build, each made of blocks that are computed, written and never computed again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.engine.evidence_step import Reported, evidence_tables, train_classes
from trak_core.engine.label_step import label_tables
from trak_core.engine.map_step import map_tables
from trak_core.engine.method_context import kernel_proj_dim, lds_tuning, run_context
from trak_core.engine.progress import ProgressReporter
from trak_core.engine.quality_step import model_quality
from trak_core.engine.scoring import score_run
from trak_core.engine.settings import BuildSettings
from trak_core.engine.training_step import retrain_block, write_checkpoints
from trak_core.engine.work import Inline, Kind, Work
from trak_core.engine.working_run import WorkingRun
from trak_core.errors import TrainingDivergedError
from trak_core.evidence.lds import MIN_SUBSETS, tuning_tests
from trak_core.inputs import in_numbers, take
from trak_core.methods import DEFAULT_RIDGE, Examples, MethodContext, best, ridge_qualities
from trak_core.modalities import Split, encoding_metadata
from trak_core.projection import SjltProjection, SketchMap
from trak_core.seeds import derive_seed
from trak_core.store.files import RunFiles
from trak_core.store.ledger import subset_columns
from trak_core.store.local_paths import without_paths
from trak_core.store.media_rows import media_columns
from trak_core.store.run_tables import example_columns, feature_columns, joined, prediction_columns, run_meta
from trak_core.store.targets import listed_targets, target_columns
from trak_core.store.writer import StoreWriter
from trak_core.subjects import Subject
from trak_core.subjects.planting import PlantedErrors
from trak_core.tasks import Answer, Targets
from trak_core.training import OnShare, draw_half_subsets

SUBSETS_A_BLOCK = 10
FROM_THE_LEDGER = ("fit", "ridge", "eval", "lds")
"""Steps that need models retrained on random halves; a subject that trains no models goes without."""
PUBLISHED_BEFORE = {"labels": "labels", "eval": "lds", "map": "map"}
"""Steps before which a run is published, unless a block is there that comes with or after them."""


class BuildSteps(WorkingRun):
    """One build under way.

    Args:
        build, subject, files, writer: as `WorkingRun`.
        planted: which of its train labels were made wrong on purpose.
        metadata: what provenance tells besides the settings; "title" names the run for people.
        progress: told of every step.
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
    ) -> None:
        super().__init__(build, subject, files, writer)
        self.planted, self.metadata, self.progress = planted, metadata, progress
        self.executor = Inline(writer, progress)

    def work(self) -> dict[str, list[Work]]:
        """All that there is to do, step by step; the names of the steps are those of `build_steps`."""
        settings, fingerprint = self.build, self.writer.meta("fingerprint")

        def one(kind: Kind) -> list[Work]:
            return [Work(kind, fingerprint)]

        def retrained(subset_ids: range) -> list[Work]:
            size = max(1, min(SUBSETS_A_BLOCK, self.trainer.at_once // settings.n_seeds)) if subset_ids else 1
            blocks = [range(start, min(start + size, subset_ids.stop)) for start in subset_ids[::size]]
            return [Work(Kind.RETRAIN, fingerprint, rows=block) for block in blocks]

        n_models = settings.n_checkpoints
        size = n_models if self.subject.checkpoints else self.trainer.at_once
        parts = [range(start, min(start + size, n_models)) for start in range(0, n_models, size)]
        trained = [Work(Kind.TRAIN, fingerprint, rows=part) for part in parts]
        steps = {
            "data": one(Kind.DESCRIBE),
            "checkpoints": [*trained, *one(Kind.PREDICT)],
            "fit": retrained(range(settings.n_fit)),
            "features": [Work(Kind.FEATURIZE, fingerprint, checkpoint=i) for i in range(settings.n_checkpoints)],
            "ridge": one(Kind.GRAM),
            "scores": one(Kind.SCORE),
            "labels": one(Kind.LABEL_FOLD),
            "eval": retrained(range(settings.n_fit, settings.n_subsets)),
            "lds": one(Kind.MEASURE),
            "map": one(Kind.MAP),
        }
        return {step: tasks for step, tasks in steps.items() if settings.n_subsets or step not in FROM_THE_LEDGER}

    def do(self, work: Work) -> None:
        """Does one task and writes its block."""
        steps: dict[Kind, Callable[..., None]] = {
            Kind.DESCRIBE: self._data,
            Kind.TRAIN: self._checkpoints,
            Kind.PREDICT: self._checkpoint_predictions,
            Kind.RETRAIN: self._retrain,
            Kind.FEATURIZE: self._features,
            Kind.GRAM: self._ridge,
            Kind.SCORE: self._scores,
            Kind.LABEL_FOLD: self._labels,
            Kind.MEASURE: self._lds,
            Kind.MAP: self._map,
        }
        done_for = [each for each in (work.checkpoint, work.rows) if each is not None]
        steps[work.kind](*done_for)

    def run(self) -> None:
        """Does what is left to do, in order, and shows readers what is there before each of the later steps."""
        for step, tasks in self.work().items():
            if step in PUBLISHED_BEFORE and not self.writer.has(PUBLISHED_BEFORE[step]):
                self.writer.publish()
            self.executor.run(step, tasks, self.do)
        self.writer.publish()
        self.writer.finish()

    # --- data and models ----------------------------------------------------------------------------------

    def _data(self) -> None:
        dataset, names = self.subject.dataset, self.subject.dataset.class_names
        examples = [self._examples("train", dataset.train), self._examples("test", dataset.test)]
        media = [media_columns("train", dataset.train.further or ()), media_columns("test", dataset.test.further or ())]
        roles = ["fit" if i < self.build.n_fit else "eval" for i in range(len(self.masks))]
        without_ledger = {} if self.build.n_subsets else {"ridge": DEFAULT_RIDGE}  # nothing to choose it on
        meta = run_meta(
            **{**self.metadata, **asdict(self.build), **without_ledger},
            modality=dataset.modality,
            class_names=names,
            task=self.subject.task.name,
            training=self.subject.training_facts,
            data_fingerprint=dataset.fingerprint(),
            method="trak",
            encoding=encoding_metadata(dataset.encoding),
            tuning_tests=np.flatnonzero(self.tuning_tests).tolist(),
        )
        tables = {
            "examples": joined(examples),
            "media": joined(media),
            "subsets": subset_columns(self.masks, roles),
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
            [names[label] if has_classes else in_numbers(label) for label in split.labels],
            texts=split.texts,
            thumbnails=split.thumbnails,
            origins=split.origins,
        )

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        """The ledger's subsets, bool `[n_subsets, n_train]`: the first `n_fit` are for fitting."""
        return draw_half_subsets(self.build.n_subsets, self.n_train, self.build.seed)

    @cached_property
    def tuning_tests(self) -> NDArray[np.bool_]:
        """Test examples that settings are chosen on, bool `[n_test]`; nothing is reported on them."""
        return tuning_tests(self.n_test, self.build.seed)

    def _advance(self, units: float) -> OnShare:
        return lambda share: self.progress.advance(units * share)

    def _checkpoints(self, part: range) -> None:
        """Trains as many models as the trainer takes at once, or takes those that were given."""
        write_checkpoints(self, part, self._advance(len(part) / self.build.n_checkpoints))

    def _checkpoint_predictions(self) -> None:
        models, parts, shares = self.checkpoints, [], []
        sides = {"train": (self.subject.task, self.train), "test": (self.subject.task.query, self.test)}
        for name, (task, examples) in sides.items():
            targets, outputs = examples.targets, models.outputs(task, examples.inputs)  # [n_checkpoints, n, ...]
            answers = models.answers(task, outputs)
            shares.append([_share(task.agrees(answer, targets)) for answer in answers] or [None] * len(models))
            values, losses = (_array(models.of_each(what, task, outputs, targets)) for what in ("model_output", "loss"))
            of_classes = _of_classes(answers, targets)
            parts.append(prediction_columns(range(len(models)), name, values, loss=losses, **of_classes))
        statement = "UPDATE checkpoints SET train_accuracy = ?, test_accuracy = ? WHERE checkpoint_id = ?"
        measured = [(statement, [*of_model, i]) for i, of_model in enumerate(zip(*shares, strict=True))]
        quality = model_quality(self.subject.dataset, task, answers, self.build.seed)  # of the test side, which is last
        self.writer.write(str(Kind.PREDICT), {"predictions": joined(parts)}, {"model_quality": quality}, first=measured)

    @cached_property
    def context(self) -> MethodContext:
        """What methods may use, without the outcomes of the ledger."""
        return run_context(
            self.subject, self.checkpoints, self.train, self.test, self.build.seed, kernel_proj_dim(self.subject)
        )

    # --- the ledger ---------------------------------------------------------------------------------------

    def _retrain(self, block: range) -> None:
        """Retrains every seed of a block of subsets and writes what the models say of the test examples."""
        tables, lost = retrain_block(self, self.masks, block, self._advance(len(block)))
        mark = [("UPDATE subsets SET role = 'diverged' WHERE subset_id = ?", [subset_id]) for subset_id in lost]
        self.writer.write(f"ledger {block.start}", tables, first=mark)

    def _kept_to_measure(self, role: str) -> NDArray[np.bool_]:
        masks = self.ledger.masks(role)
        if len(masks) < MIN_SUBSETS:
            n_lost = self.writer.columns("SELECT count(*) AS n FROM subsets WHERE role = 'diverged'")["n"][0]
            purpose = "choose settings on" if role == "fit" else "report on"
            raise TrainingDivergedError(
                f"training diverged on {n_lost} random halves; {len(masks)} are left to {purpose}, {MIN_SUBSETS} are "
                "needed. Lower the learning rate of the recipe, or give a larger --n-subsets."
            )
        return masks

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
        masks, outcomes = self._kept_to_measure("fit"), self.ledger.outcomes("fit").mean(1)[:, chosen_on]
        asked = Examples(take(self.test.inputs, chosen_on), self.test.targets[chosen_on])
        tuning = lds_tuning(masks, outcomes, self.build.device)
        found = ridge_qualities(replace(self.context, test=asked, tuning=tuning), self.progress.advance)
        told = {f"{ridge:g}": lds for ridge, lds in found.items()}
        self.writer.write("ridge", {}, {"ridge": best(found, DEFAULT_RIDGE), "lds_by_ridge_on_fit_subsets": told})

    def _scores(self) -> None:
        task = self.subject.task.query
        tables, meta = score_run(
            replace(self.context, ridge=self.writer.meta("ridge")),
            Targets.of(task, self.checkpoints.outputs(task, self.test.inputs)[0], self.test.targets),
            self.ledger,
            self.masks,
            self.tuning_tests,
            self.score_fingerprint,
            self.progress.advance,
        )
        self.writer.write("scores", tables, meta)

    def _labels(self) -> None:
        tables, meta = label_tables(self, lambda share: self.progress.advance(share / 2))
        self.writer.write("labels", tables, meta)

    # --- evidence -----------------------------------------------------------------------------------------

    def _lds(self) -> None:
        masks, outcomes = self._kept_to_measure("eval"), self.ledger.outcomes("eval")
        reported = Reported.of(masks, outcomes, ~self.tuning_tests, self.build, train_classes(self.writer))
        tables, slope_of_others = evidence_tables(self.writer, reported)
        self.writer.write("lds", tables, {"calibration_slope_of_other_targets": slope_of_others})
        self.progress.advance()

    def _map(self) -> None:
        tables, meta = map_tables(self.writer)
        self.writer.write("map", tables, {**meta, "complete": True})
        self.progress.advance()


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
