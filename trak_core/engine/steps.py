"""The steps of a build, each made of blocks that are computed, written and never computed again."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.datasets import encoding_facts
from trak_core.engine.checkpoint_step import write_checkpoints
from trak_core.engine.checkpoints import load_checkpoints
from trak_core.engine.evidence_step import evidence_tables
from trak_core.engine.kernels import Kernels, is_projected
from trak_core.engine.label_step import label_tables
from trak_core.engine.ledger import RunLedger
from trak_core.engine.ledger_step import retrain_block
from trak_core.engine.map_step import map_tables
from trak_core.engine.progress import ProgressReporter, run_blocks
from trak_core.engine.scoring import ScoringResult, choose_ridge, score_all_methods
from trak_core.engine.settings import BuildSettings
from trak_core.errors import TrainingDivergedError
from trak_core.evidence import MIN_SUBSETS, tuning_tests
from trak_core.methods import DEFAULT_RIDGE, Examples, GradientRows
from trak_core.projection import SjltProjection, SketchMap
from trak_core.seeds import derive_seed
from trak_core.store.files import RunFiles
from trak_core.store.fingerprints import file_sha256, score_fingerprint
from trak_core.store.masks import pack_masks
from trak_core.store.places import without_paths
from trak_core.store.writer import StoreWriter
from trak_core.subjects import Subject
from trak_core.subjects.planting import PlantedErrors
from trak_core.training import Ensemble, OnShare, Trainer, draw_half_subsets
from trak_core.versions import versions

__all__ = ["BuildSteps"]

SUBSETS_A_BLOCK = 10


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
        n_train, n_test = len(subject.dataset.train), len(subject.dataset.test)
        self.ledger = RunLedger(writer, n_train, n_test, settings.n_seeds)
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
        self._step("checkpoints", self._checkpoint_blocks())
        if self.settings.n_subsets:
            self._step("fit", self._ledger_blocks(fit_ids))
        self._step(
            "features",
            {f"features {i}": partial(self._features, i) for i in range(self.settings.n_checkpoints)},
        )
        if self.settings.n_subsets:
            self._step("ridge", {"ridge": self._ridge})
        elif not self.writer.has("ridge"):
            self.writer.write("ridge", {}, {"ridge": DEFAULT_RIDGE})
        self._step("scores", {"scores": self._scores})
        if not self.writer.has("labels"):
            self.writer.publish()
        self._step("labels", {"labels": self._labels})
        if self.settings.n_subsets:
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
        dataset = self.subject.dataset
        columns: dict[str, list[Any]] = {
            name: [] for name in ("split", "idx", "label", "label_name", "text", "thumbnail")
        }
        for name, split in (("train", dataset.train), ("test", dataset.test)):
            columns["split"] += [name] * len(split)
            columns["idx"] += range(len(split))
            columns["label"] += split.labels.tolist()
            columns["label_name"] += [dataset.class_names[label] for label in split.labels]
            columns["text"] += split.texts or [None] * len(split)
            columns["thumbnail"] += split.thumbnails or [None] * len(split)
        masks = self.masks
        roles = ["fit" if i < self.settings.n_fit else "eval" for i in range(len(masks))]
        subsets = {
            "subset_id": list(range(len(masks))),
            "role": roles,
            "mask": pack_masks(masks),
        }
        meta = {
            **self.facts,
            **asdict(self.settings),
            "modality": dataset.modality,
            "class_names": dataset.class_names,
            "task": type(self.subject.task).__name__,
            "training": self.subject.training_facts,
            "data_fingerprint": dataset.fingerprint(),
            "method": "trak",
            **encoding_facts(dataset.encoding),
            "tuning_tests": np.flatnonzero(self.tuning_tests).tolist(),
            "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "versions": versions(),
        }
        planted = {"train_idx": self.planted.train_idx, "true_label": self.planted.true_label}
        told = without_paths(meta)
        self.writer.write("data", {"examples": columns, "subsets": subsets, "planted_errors": planted}, told)
        self.progress.advance()

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        """The ledger's subsets, bool `[n_subsets, n_train]`: the first `n_fit` are for fitting."""
        return draw_half_subsets(self.settings.n_subsets, len(self.train_labels), self.settings.seed)

    @cached_property
    def tuning_tests(self) -> NDArray[np.bool_]:
        """Test examples that settings are chosen on, bool `[n_test]`; nothing is reported on them."""
        return tuning_tests(len(self.test_labels), self.settings.seed)

    def _advance(self, units: float) -> OnShare:
        return lambda share: self.progress.advance(units * share)

    def _checkpoint_blocks(self) -> dict[str, Callable[[], None]]:
        """Training in parts of as many models as the trainer takes at once, then what they all say."""
        n, trainer = self.settings.n_checkpoints, None if self.subject.checkpoints else self.trainer
        size = n if trainer is None else trainer.at_once
        train = {}
        for part in (range(start, min(n, start + size)) for start in range(0, n, size)):
            to_write = (self.writer, self.files, self.subject, trainer, self.settings.seed, part)
            train[f"checkpoints {part.start}"] = partial(write_checkpoints, *to_write, self._advance(len(part) / n))
        return {**train, "checkpoints": self._checkpoint_predictions}

    def _checkpoint_predictions(self) -> None:
        predictions, accuracy = self._predictions(self.checkpoints)
        measured = [
            (
                "UPDATE checkpoints SET train_accuracy = ?, test_accuracy = ? WHERE checkpoint_id = ?",
                [accuracy["train"][i], accuracy["test"][i], i],
            )
            for i in range(len(self.checkpoints))
        ]
        self.writer.write("checkpoints", {"predictions": predictions}, first=measured)

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
            n = len(labels)
            accuracy[name] = (predicted == labels).float().mean(1).tolist()
            parts.append(
                {
                    "checkpoint_id": np.repeat(np.arange(len(ensemble)), n),
                    "split": np.repeat(name, len(ensemble) * n),
                    "idx": np.tile(np.arange(n), len(ensemble)),
                    "model_output": _flat(task.model_output(logits, labels_of_all)),
                    "loss": _flat(task.loss(logits, labels_of_all)),
                    "p_label": _flat(probabilities.gather(2, labels_of_all[..., None])),
                    "predicted": _flat(predicted),
                    "probabilities": probabilities.flatten(0, 1).cpu().numpy(),
                }
            )
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, accuracy

    @cached_property
    def trainer(self) -> Trainer:
        """What trains models of the subject."""
        return self.subject.trainer(self.settings.device)

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
        size = max(1, min(SUBSETS_A_BLOCK, self.trainer.at_once // self.settings.n_seeds))
        blocks = [range(start, min(start + size, subset_ids.stop)) for start in subset_ids[::size]]
        return {f"ledger {block.start}": partial(self._retrain, block) for block in blocks}

    def _retrain(self, block: range) -> None:
        """Retrains every seed of a block of subsets and writes what the models say of the test examples."""
        tables, lost = retrain_block(
            self.subject.task,
            self.trainer,
            Examples(self.test_inputs, self.test_labels),
            self.masks,
            block,
            self.settings,
            self._advance(len(block)),
        )
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
            parts.append(
                {
                    "checkpoint_id": np.full(len(labels), checkpoint_id),
                    "split": np.repeat(name, len(labels)),
                    "idx": np.arange(len(labels)),
                    "q": _flat(q),
                    "norm": _flat(norm),
                    "phi": phi.cpu().numpy(),
                }
            )
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        self.writer.write(f"features {checkpoint_id}", {"features": columns})
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
            self.ledger.outcomes("fit").mean(1)[:, chosen_on],
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
            fit_masks=self.ledger.masks("fit"),
            fit_outcomes=self.ledger.class_outcomes("fit").mean(1),
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
            "calibration_of_other_classes": result.calibration_of_others,
            "gradients": result.gradient_path,
            "kernel": self.kernels.description,
        }
        self.writer.write("scores", result.tables(fingerprints), meta)

    def _labels(self) -> None:
        tables, meta = label_tables(
            self.writer,
            self.files,
            self.subject,
            self.settings.seed,
            self.settings.device,
            on_share=lambda share: self.progress.advance(share / 2),
        )
        self.writer.write("labels", tables, meta)

    # --- evidence -----------------------------------------------------------------------------------------

    def _lds(self) -> None:
        tables, slope_of_others = evidence_tables(
            self.writer,
            self._kept_to_measure("eval"),
            self.ledger.outcomes("eval"),
            self.ledger.class_outcomes("eval"),
            ~self.tuning_tests,
            self.settings,
        )
        self.writer.write("lds", tables, {"calibration_slope_of_other_classes": slope_of_others})
        self.progress.advance()

    def _map(self) -> None:
        tables, meta = map_tables(self.writer)
        self.writer.write("map", tables, {**meta, "complete": True})
        self.progress.advance()


def _flat(values: Tensor) -> NDArray[Any]:
    return values.reshape(-1).cpu().numpy()
