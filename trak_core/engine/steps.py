"""The steps of a build, each made of blocks that are computed, written and never computed again."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from trak_core.datasets import encoding_facts
from trak_core.engine.checkpoints import load_checkpoints
from trak_core.engine.evidence_step import evidence_tables
from trak_core.engine.kernels import Kernels, is_projected
from trak_core.engine.label_step import label_tables
from trak_core.engine.map_step import map_tables
from trak_core.engine.pace import DIGITS_PACE, Pace
from trak_core.engine.progress import ProgressReporter, Step, run_blocks
from trak_core.engine.scoring import ScoringResult, choose_ridge, score_all_methods
from trak_core.engine.settings import BuildSettings
from trak_core.errors import TrainingDivergedError
from trak_core.evidence import MIN_SUBSETS, tuning_tests
from trak_core.methods import GradientRows
from trak_core.projection import SjltProjection, SketchMap
from trak_core.seeds import derive_seed
from trak_core.store.files import RunFiles, replace_file
from trak_core.store.fingerprints import file_sha256, score_fingerprint
from trak_core.store.ledger import (
    outcome_columns,
    read_outcomes,
    read_target_outcomes,
    subset_columns,
    target_outcome_columns,
)
from trak_core.store.places import without_paths
from trak_core.store.run_tables import (
    checkpoint_columns,
    example_columns,
    feature_columns,
    joined,
    prediction_columns,
    run_meta,
)
from trak_core.store.targets import target_columns
from trak_core.store.writer import StoreWriter
from trak_core.subjects import Subject
from trak_core.subjects.planting import PlantedErrors
from trak_core.training import Ensemble, diverged, draw_half_subsets, train_ensemble, train_recorded

__all__ = ["BuildSteps", "plan"]

SUBSETS_A_BLOCK = 10
NUMBERS_AT_ONCE = 2**26
"""Logits that are looked at at once, each counted for every class asked about."""
N_LOGGED = 5
"""Checkpoints whose training is recorded: as many as methods that look at training average over."""


def plan(settings: BuildSettings, pace: Pace = DIGITS_PACE) -> list[Step]:
    """The steps of a build with the seconds that they take at some pace."""
    n_checkpoints = settings.n_checkpoints
    n_models = settings.n_subsets * settings.n_seeds
    fit_seconds = settings.n_fit * settings.n_seeds * pace.half_model
    return [
        Step("data", "reading the data", 1, pace.data, True),
        Step(
            "checkpoints",
            f"training {n_checkpoints} checkpoints",
            1,
            pace.model * n_checkpoints,
            True,
        ),
        Step("fit", "retraining on the first random halves", settings.n_fit, fit_seconds, True),
        Step("features", "computing gradients", n_checkpoints, pace.features * n_checkpoints, True),
        Step("ridge", "choosing the ridge", n_checkpoints, pace.ridge * n_checkpoints, True),
        Step("scores", "scoring", n_checkpoints, pace.scores * n_checkpoints, True),
        Step("labels", "looking for wrong labels", 1, pace.labels, False),
        Step(
            "eval",
            f"retraining {n_models} models on random halves",
            settings.n_subsets - settings.n_fit,
            n_models * pace.half_model - fit_seconds,
            False,
        ),
        Step("lds", "measuring the evidence", 1, pace.lds, False),
        Step("map", "drawing the map", 1, pace.map, False),
    ]


class BuildSteps:
    """One build under way.

    Args:
        settings: of the build.
        subject: data, model, task and training settings.
        planted: which of its train labels were made wrong on purpose.
        facts: what provenance tells besides the settings; "title" names the run for people.
        files: of the run.
        writer: the working store.
        progress: told of every step.
    """

    def __init__(
        self,
        settings: BuildSettings,
        subject: Subject,
        planted: PlantedErrors,
        facts: Mapping[str, Any],
        files: RunFiles,
        writer: StoreWriter,
        progress: ProgressReporter,
    ) -> None:
        self.settings = settings
        self.subject = subject
        self.planted = planted
        self.facts = facts
        self.files = files
        self.writer = writer
        self.progress = progress
        self.train_inputs, self.train_labels = self._tensors("train")
        self.test_inputs, self.test_labels = self._tensors("test")

    def _tensors(self, split_name: str) -> tuple[Tensor, Tensor]:
        split = getattr(self.subject.dataset, split_name)
        return (
            torch.from_numpy(split.inputs).to(self.settings.device),
            torch.from_numpy(split.labels).to(self.settings.device),
        )

    def run(self) -> None:
        """Does what is left to do, in order."""
        fit_ids = range(self.settings.n_fit)
        eval_ids = range(self.settings.n_fit, self.settings.n_subsets)
        self._step("data", {"data": self._data})
        self._step("checkpoints", {"checkpoints": self._checkpoints})
        self._step("fit", self._ledger_blocks(fit_ids))
        self._step(
            "features",
            {f"features {i}": partial(self._features, i) for i in range(self.settings.n_checkpoints)},
        )
        self._step("ridge", {"ridge": self._ridge})
        self._step("scores", {"scores": self._scores})
        if not self.writer.has("labels"):
            self.writer.publish()
        self._step("labels", {"labels": self._labels})
        if not self.writer.has("lds"):
            self.writer.publish()
        self._step("eval", self._ledger_blocks(eval_ids))
        self._step("lds", {"lds": self._lds})
        if not self.writer.has("map"):
            self.writer.publish()
        self._step("map", {"map": self._map})
        self.writer.publish()
        self.writer.finish()

    def _step(self, name: str, blocks: dict[str, Callable[[], None]]) -> None:
        run_blocks(self.writer, self.progress, name, blocks)

    # --- data and models ----------------------------------------------------------------------------------

    def _data(self) -> None:
        dataset, names = self.subject.dataset, self.subject.dataset.class_names
        examples = [
            example_columns(
                name,
                split.labels,
                [names[label] for label in split.labels],
                texts=split.texts,
                thumbnails=split.thumbnails,
            )
            for name, split in (("train", dataset.train), ("test", dataset.test))
        ]
        roles = ["fit" if i < self.settings.n_fit else "eval" for i in range(len(self.masks))]
        meta = run_meta(
            **{**self.facts, **asdict(self.settings)},
            modality=dataset.modality,
            class_names=names,
            task=type(self.subject.task).__name__,
            training=asdict(self.subject.training),
            data_fingerprint=dataset.fingerprint(),
            method="trak",
            **encoding_facts(dataset.encoding),
            tuning_tests=np.flatnonzero(self.tuning_tests).tolist(),
        )
        tables = {
            "examples": joined(examples),
            "targets": target_columns(dataset.test.labels, names),
            "subsets": subset_columns(self.masks, roles),
            "planted_errors": {"train_idx": self.planted.train_idx, "true_label": self.planted.true_label},
        }
        self.writer.write("data", tables, without_paths(meta))
        self.progress.advance()

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        """The ledger's subsets, bool `[n_subsets, n_train]`: the first `n_fit` are for fitting."""
        return draw_half_subsets(self.settings.n_subsets, len(self.train_labels), self.settings.seed)

    @cached_property
    def tuning_tests(self) -> NDArray[np.bool_]:
        """Test examples that settings are chosen on, bool `[n_test]`; nothing is reported on them."""
        return tuning_tests(len(self.test_labels), self.settings.seed)

    def _advance(self, units: float) -> Callable[[], None]:
        epochs = self.subject.training.epochs
        return lambda: self.progress.advance(units / epochs)

    def _checkpoints(self) -> None:
        n = self.settings.n_checkpoints
        seeds = [derive_seed(self.settings.seed, "checkpoint", i) for i in range(n)]
        trained = train_recorded(
            self.subject.make_model,
            self.subject.task,
            self.train_inputs,
            self.train_labels,
            seeds,
            self.subject.training,
            n_logged=N_LOGGED,
            on_epoch=self._advance(1),
        )
        ensemble = trained.ensemble
        for i in range(n):
            state = {name: value.cpu().contiguous() for name, value in ensemble.state_dict(i).items()}
            replace_file(self.files.checkpoint(i), partial(save_file, state))
        for i, log in enumerate(trained.logs):
            replace_file(self.files.training_log(i), log.save)
        predictions, accuracy = self._predictions(ensemble)
        checkpoints = checkpoint_columns(
            [self._sha256(i) for i in range(n)],
            seeds=seeds,
            accuracy=accuracy,
            log_sha256s=[file_sha256(self.files.training_log(i)) if i < N_LOGGED else None for i in range(n)],
        )
        self.writer.write("checkpoints", {"checkpoints": checkpoints, "predictions": predictions})

    def _sha256(self, checkpoint_id: int) -> str:
        return file_sha256(self.files.checkpoint(checkpoint_id))

    def _predictions(self, ensemble: Ensemble) -> tuple[dict[str, Any], dict[str, list[float]]]:
        task, parts, accuracy = self.subject.task, [], {}
        splits = {
            "train": (self.train_inputs, self.train_labels),
            "test": (self.test_inputs, self.test_labels),
        }
        for name, (inputs, labels) in splits.items():
            logits = ensemble.logits(inputs)  # [n_checkpoints, n, n_classes]
            labels_of_all = labels.expand(len(ensemble), -1)
            probabilities = logits.softmax(-1)
            predicted = logits.argmax(-1)
            accuracy[name] = (predicted == labels).float().mean(1).tolist()
            parts.append(
                prediction_columns(
                    range(len(ensemble)),
                    name,
                    _array(task.model_output(logits, labels_of_all)),
                    loss=_array(task.loss(logits, labels_of_all)),
                    p_label=_array(probabilities.gather(2, labels_of_all[..., None])),
                    predicted=_array(predicted),
                    probabilities=_array(probabilities),
                )
            )
        return joined(parts), accuracy

    @cached_property
    def checkpoints(self) -> Ensemble:
        """The checkpoints as written to disk, each checked against its fingerprint."""
        return load_checkpoints(self.writer, self.files, self.subject, self.settings.device)

    @cached_property
    def kernels(self) -> Kernels:
        """The kernels of the checkpoints."""
        return Kernels(
            self.checkpoints,
            self.subject.task,
            (self.train_inputs, self.train_labels),
            is_projected(self.subject),
            self.settings.seed,
        )

    # --- the ledger ---------------------------------------------------------------------------------------

    def _ledger_blocks(self, subset_ids: range) -> dict[str, Callable[[], None]]:
        starts = range(subset_ids.start, subset_ids.stop, SUBSETS_A_BLOCK)
        blocks = [range(start, min(start + SUBSETS_A_BLOCK, subset_ids.stop)) for start in starts]
        return {f"ledger {block.start}": partial(self._ledger, block) for block in blocks}

    def _ledger(self, block: range) -> None:
        """Retrains every seed of a block of subsets and writes what the models say of the test examples."""
        n_seeds = self.settings.n_seeds
        members = [(subset_id, seed) for subset_id in block for seed in range(n_seeds)]
        ensemble = train_ensemble(
            self.subject.make_model,
            self.subject.task,
            self.train_inputs,
            self.train_labels,
            self.masks[[subset_id for subset_id, _ in members]],
            [derive_seed(self.settings.seed, "ledger", subset_id, seed) for subset_id, seed in members],
            self.subject.training,
            on_epoch=self._advance(len(block)),
            allow_diverged=True,
        )
        lost = sorted({members[i][0] for i in np.flatnonzero(diverged(ensemble))})
        kept = [i for i, (subset_id, _) in enumerate(members) if subset_id not in lost]
        # One seed that diverged takes its subset with it: an average over fewer seeds is another measurement.
        mark = [("UPDATE subsets SET role = 'diverged' WHERE subset_id = ?", [subset_id]) for subset_id in lost]
        if not kept:
            self.writer.write(f"ledger {block.start}", {}, first=mark)
            return
        members = [members[i] for i in kept]
        subset_ids = [subset_id for subset_id in block if subset_id not in lost]
        logits = ensemble.logits(self.test_inputs)[kept]  # [n_models, n_test, n_classes]
        outputs = self._of_every_class(logits)
        of_label = outputs.gather(2, self.test_labels.expand(len(members), -1)[..., None])[..., 0]
        by_seed = _array(outputs).reshape(len(subset_ids), n_seeds, *outputs.shape[1:])
        self.writer.write(
            f"ledger {block.start}",
            {
                "outcomes": outcome_columns(subset_ids, _array(of_label).reshape(by_seed.shape[:3])),
                "target_outcomes": target_outcome_columns(subset_ids, by_seed),
                "target_outcomes_by_seed": target_outcome_columns(subset_ids, by_seed, by_seed=True),
            },
            first=mark,
        )

    def _of_every_class(self, logits: Tensor) -> Tensor:
        """Model outputs `[n_models, n_test, n_classes]` for every class asked about."""
        n_models, n_test, n_classes = logits.shape
        classes = torch.arange(n_classes, device=logits.device)
        # One class takes as much memory as all logits: with many classes not all fit at once.
        parts = torch.split(classes, max(1, NUMBERS_AT_ONCE // logits.numel()))
        asked = [part.expand(n_models, n_test, -1) for part in parts]
        return torch.cat([self.subject.task.model_output(logits[:, :, None, :], part) for part in asked], dim=-1)

    def _kept_to_measure(self, role: str) -> NDArray[np.bool_]:
        masks = self._kept(role)
        if len(masks) < MIN_SUBSETS:
            n_lost = self.writer.columns("SELECT count(*) AS n FROM subsets WHERE role = 'diverged'")["n"][0]
            purpose = "choose settings on" if role == "fit" else "report on"
            raise TrainingDivergedError(
                f"training diverged on {n_lost} random halves; {len(masks)} are left to {purpose}, {MIN_SUBSETS} are "
                "needed. Lower the learning rate of the recipe, or give a larger --n-subsets."
            )
        return masks

    def _kept(self, *roles: str) -> NDArray[np.bool_]:
        """Masks of the subsets of some roles that did not diverge, bool `[n_subsets, n_train]`."""
        rows = self.writer.columns("SELECT subset_id, role FROM subsets ORDER BY subset_id")
        kept = np.isin(rows["role"].astype(str), roles)
        return np.asarray(self.masks[rows["subset_id"][kept]])

    def _class_outcomes(self, role: str) -> NDArray[np.float64]:
        """Margins of every class over the subsets of a role: `[n_subsets, n_seeds, n_test, n_classes]`."""
        shape = len(self.test_labels), len(self.subject.dataset.class_names)
        test_idx, number = (axis.ravel() for axis in np.indices(shape))
        flat = read_target_outcomes(self.writer, role, test_idx, number + 1, by_seed=True)
        return flat.reshape(-1, self.settings.n_seeds, *shape)

    def _outcomes(self, role: str) -> NDArray[np.float64]:
        """Margins of the labels over the subsets of a role: `[n_subsets, n_seeds, n_test]`."""
        return read_outcomes(self.writer, role, self.settings.n_seeds, len(self.test_labels))

    # --- features and scores ------------------------------------------------------------------------------

    def _features(self, checkpoint_id: int) -> None:
        seed = derive_seed(self.settings.seed, "projection", checkpoint_id)
        parts = []
        splits = {
            "train": (self.train_inputs, self.train_labels),
            "test": (self.test_inputs, self.test_labels),
        }
        checkpoints, weights = self.checkpoints, self.checkpoints.state_dict(checkpoint_id)
        gradients = GradientRows(
            checkpoints.architecture, self.subject.task, weights, self.train_inputs, self.train_labels
        )
        feature_map = SketchMap(gradients.layers, SjltProjection(self.settings.proj_dim, seed))
        for name, (inputs, labels) in splits.items():
            phi, norm, q = gradients.projected(weights, inputs, labels, feature_map)
            parts.append(feature_columns(checkpoint_id, name, _array(q), _array(norm), _array(phi)))
        self.writer.write(f"features {checkpoint_id}", {"features": joined(parts)})
        self.progress.advance()

    def _ridge(self) -> None:
        # With very few test examples none are set apart, and the ridge is chosen on all of them.
        chosen_on = self.tuning_tests if self.tuning_tests.any() else ~self.tuning_tests
        ridge, lds_by_ridge = choose_ridge(
            self.checkpoints,
            self.subject.task,
            (self.train_inputs, self.train_labels),
            (self.test_inputs[chosen_on], self.test_labels[chosen_on]),
            self.kernels,
            self._kept_to_measure("fit"),
            self._outcomes("fit").mean(1)[:, chosen_on],
            on_checkpoint=self.progress.advance,
        )
        self.writer.write("ridge", {}, {"ridge": ridge, "lds_by_ridge_on_fit_subsets": lds_by_ridge})

    def _scores(self) -> None:
        result: ScoringResult = score_all_methods(
            self.checkpoints,
            self.subject.task,
            (self.train_inputs, self.train_labels),
            (self.test_inputs, self.test_labels),
            self.kernels,
            ridge=self.writer.meta("ridge"),
            masks=self.masks,
            fit_masks=self._kept("fit"),
            fit_outcomes=self._class_outcomes("fit").mean(1),
            tuning=self.tuning_tests,
            seed=self.settings.seed,
            on_checkpoint=self.progress.advance,
        )
        ridge = self.writer.meta("ridge")
        sha256s = [self._sha256(i) for i in range(self.settings.n_checkpoints)]
        fingerprints = {
            method: score_fingerprint(self.writer.meta("fingerprint"), sha256s, ridge, method)
            for method in result.by_method
        }
        meta = {
            "calibration": result.calibration,
            "calibration_of_other_targets": result.calibration_of_others,
            "gradients": result.gradient_path,
            "kernel": self.kernels.description,
        }
        self.writer.write("scores", result.tables(fingerprints), meta)

    def _labels(self) -> None:
        epochs = self.subject.training.epochs
        tables, meta = label_tables(
            self.writer,
            self.files,
            self.subject,
            self.settings.seed,
            self.settings.device,
            on_epoch=lambda: self.progress.advance(1 / (2 * epochs)),
        )
        self.writer.write("labels", tables, meta)

    # --- evidence -----------------------------------------------------------------------------------------

    def _lds(self) -> None:
        tables, slope_of_others = evidence_tables(
            self.writer,
            self._kept_to_measure("eval"),
            self._outcomes("eval"),
            ~self.tuning_tests,
            self.settings,
        )
        self.writer.write("lds", tables, {"calibration_slope_of_other_targets": slope_of_others})
        self.progress.advance()

    def _map(self) -> None:
        tables, meta = map_tables(self.writer)
        self.writer.write("map", tables, {**meta, "complete": True})
        self.progress.advance()


def _array(values: Tensor) -> NDArray[Any]:
    return values.cpu().numpy()
