"""Writes what an `Attributor` knows as a run that the explorer opens.

Block by block into a working store, as a build does: a save that is interrupted goes on where it was when the same
call is made again.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from trak_core.engine.shown import Shown
from trak_core.errors import InvalidDataError, InvalidSettingError, RunMismatchError
from trak_core.gradients import n_parameters
from trak_core.store.catalog import check_run_name
from trak_core.store.files import RunFiles, file_sha256, replace_file
from trak_core.store.progress import BuildStatus, write_status
from trak_core.store.run import SAVED, is_finished
from trak_core.store.run_tables import (
    class_influence_columns,
    example_columns,
    feature_columns,
    joined,
    method_columns,
    prediction_columns,
    run_meta,
    score_fingerprint,
    score_tables,
    target_score_columns,
)
from trak_core.store.schema import Shape
from trak_core.store.targets import class_targets, target_columns
from trak_core.store.writer import StoreWriter, build_lock, clear_site
from trak_core.subjects.batches import Block, Data
from trak_core.subjects.given_data import names_of_outputs, pictures_of
from trak_core.tasks import Task
from trak_core.tasks.ragged import IGNORED, cut_to
from trak_core.tasks.ragged import joined as joined_labels
from trak_core.training.trained_part import FROZEN, frozen_part, frozen_sha256

if TYPE_CHECKING:
    from trak_core.engine.attributor import Attributor

LIVE_PROJ_DIM = 256
"""Dimension of the features in a run whose scores come from whole gradients; for looking at new inputs only."""

Columns = dict[str, Any]


def save_run(
    attributor: "Attributor",
    path: Path,
    train: Any,
    test: Any,
    class_names: Sequence[str] | None,
    title: str | None,
    shown: Shown,
    targets: str,
    show_progress: bool,
) -> None:
    """Writes the run; arguments are those of `Attributor.save`."""
    if targets not in ("auto", "default", "all"):
        raise InvalidSettingError(f"targets={targets!r}; it must be auto, default or all.")
    check_run_name(path.name)
    data = {"train": attributor.read(train, "train"), "test": attributor.read(test, "test")}
    saver = _Saver(attributor, RunFiles(path), data, class_names, title or path.name, shown, targets)
    is_there = is_finished(
        saver.files,
        saver.fingerprint,
        f"run {path.name!r} is there already with other settings, weights or data; save under another path, or delete "
        f"{path} first.",
    )
    if not is_there:
        with build_lock(saver.files):
            saver.write(show_progress)


class _Saver:
    """One save under way."""

    def __init__(
        self,
        attributor: "Attributor",
        files: RunFiles,
        data: dict[str, Data],
        class_names: Sequence[str] | None,
        title: str,
        shown: Shown,
        targets: str,
    ) -> None:
        self.attributor, self.fitted, self.files, self.data = attributor, attributor.fitted, files, data
        self.title, self.method, self.calibration = title, attributor.method.info, attributor.calibration
        self.n_checkpoints, self.seconds = len(attributor.checkpoints), attributor.cpu_seconds
        if once := [split for split, examples in data.items() if not examples.can_repeat]:
            raise InvalidDataError(f"{once[0]} can be read once only; give a list of batches, a DataLoader or arrays.")
        self.block_size = self.fitted.block_size
        self.has_classes = attributor.task.has_classes
        answer = self.fitted.answer(next(data["test"].blocks(1))) if self.has_classes else None
        n_outputs = 1 if answer is None or answer.probabilities is None else answer.probabilities.shape[-1]
        self.labels = {split: self._read_labels(examples, n_outputs) for split, examples in data.items()}
        digests = {
            split: [block.digest for block in examples.blocks(self.block_size)] for split, examples in data.items()
        }
        self._check_train(digests["train"])
        if not self.has_classes:
            class_names = class_names or ("model output",)
        self.class_names = names_of_outputs(class_names, n_outputs)
        size = len(self.labels["test"]) * n_outputs * self.fitted.n_train * 4
        # Methods that see all test examples at once take as long for every further target as for the first.
        fits = self.fitted.is_streaming and size <= attributor.options.memory_budget
        self.all_classes = self.has_classes and (targets == "all" or (targets == "auto" and fits))
        self.proj_dim = self.fitted.feature_width or min(LIVE_PROJ_DIM, n_parameters(attributor.layers))
        calibrated = None if self.calibration is None else self.calibration.ridge
        self.ridge = attributor.options.ridge if calibrated is None else calibrated
        self._whole: dict[bytes, NDArray[np.float32]] = {}
        task, labels = attributor.task, self.labels
        self.shown = {split: shown.columns(split, examples, labels[split], task) for split, examples in data.items()}
        parts = {
            **self.fitted.settings,
            "ridge": self.ridge,
            "calibration": None if self.calibration is None else self.calibration.factor,
            "data": digests,
            "class_names": self.class_names,
            "all_classes": self.all_classes,
            "title": title,
            "shown": {
                split: {name: _digest_of(values) for name, values in columns.items()}
                for split, columns in self.shown.items()
            },
        }
        self.fingerprint = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _read_labels(self, data: Data, n_outputs: int) -> NDArray[Any]:
        parts = []
        for batch in data.batches():
            if batch.labels is None:
                raise InvalidDataError(f"{data.what} has no labels; a run shows each example with its label.")
            parts.append(batch.labels.cpu())
        labels = joined_labels(parts, IGNORED)
        self.attributor.task.check_labels(labels, f"{data.what} ")
        if labels.dim() != 1 and self.attributor.task.parts(labels) is None:
            raise InvalidDataError(
                f"{data.what} labels have shape {tuple(labels.shape)}; the explorer shows one number for each example. "
                "Use score(), proponents() and opponents() for such tasks."
            )
        if self.has_classes:
            self.attributor.task.check(torch.zeros(len(labels), n_outputs), labels)
        return labels.numpy()

    def _check_train(self, given: list[str]) -> None:
        """Refuses train examples whose fingerprints are not those of the features."""
        stored = self.fitted.digests
        if stored != given:
            place = next((i for i, (a, b) in enumerate(zip(stored, given, strict=False)) if a != b), None)
            where = f"in number ({len(self.labels['train'])})"
            if place is not None:
                where = f"from example {place * self.block_size} on"
            raise RunMismatchError(
                f"train differs {where} from the {self.fitted.n_train} examples that were fitted; give save() the same "
                "data in the same order."
            )

    def write(self, show_progress: bool) -> None:
        """Writes what is not written yet, and publishes it."""
        if self.files.store.exists():
            clear_site(self.files)  # published by a save that was stopped while tidying up
            return
        shape = Shape(self.fitted.n_train, len(self.class_names), self.proj_dim)
        total = sum(len(labels) for labels in self.labels.values()) + len(self.labels["test"])
        with (
            StoreWriter(self.files, shape, self.fingerprint) as writer,
            tqdm(total=total, desc="saving", unit=" examples", disable=not show_progress, leave=False) as bar,
        ):

            def write_blocks(what: str, split: str, size: int, make: Callable[[Block], dict[str, Columns]]) -> None:
                for block in self.data[split].blocks(size):
                    if not writer.has(f"{what} {block.start}"):
                        writer.write(f"{what} {block.start}", make(block))
                    bar.update(len(block))
                    self._tell(bar.n / total)

            self._tell(0.0)
            self._checkpoints(writer)
            for split in self.data:
                write_blocks(split, split, self.block_size, partial(self._block, split))
            write_blocks("scores", "test", self._scored_at_once(), self._scores)
            if not writer.has("class influence"):
                writer.write("class influence", {"class_influence": self._class_influence(writer)})
            if not writer.has("summary"):
                self._summary(writer)
            writer.publish()
            writer.finish()

    def _tell(self, fraction: float) -> None:
        """Says in the run directory how far this is, for the explorer."""
        step = "a script is saving this run; run it again if it was stopped"
        write_status(self.files, BuildStatus("running", step, fraction, None, None, "", [], time.time()))

    # --- blocks -------------------------------------------------------------------------------------------

    def _checkpoints(self, writer: StoreWriter) -> None:
        if writer.has("checkpoint files"):
            return
        # Of adapters, what was trained, with a reference to the base, which is the same for all and may be large.
        frozen, model = frozen_part(self.attributor.model), self.attributor.model
        metadata = {FROZEN: frozen_sha256(model)} if frozen else None
        for i in range(self.n_checkpoints):
            given = self.attributor.checkpoints.state_dict(i)
            is_base = all(torch.equal(given[name].to(value), value) for name, value in frozen.items())
            state = {
                # Tied weights are one tensor under two names, which the format does not hold.
                name: value.detach().cpu().contiguous().clone()
                for name, value in given.items()
                if not is_base or name not in frozen
            }
            write = partial(save_file, state, metadata=metadata if is_base else None)
            replace_file(self.files.checkpoint(i), write)
        writer.write("checkpoint files", {})

    def _block(self, split: str, block: Block) -> dict[str, Columns]:
        """Examples, predictions and features of a block, at every checkpoint."""
        where = slice(block.start, block.start + len(block))
        labels = self.labels[split][where]
        texts, names = (list(self.shown[split][name][where]) for name in ("text", "label_name"))
        pictures = list(self.shown[split]["thumbnail"][where])
        pictures = pictures or [picture for batch in block.batches for picture in pictures_of(batch)]
        if not any(pictures) and not any(texts):
            texts = [f"{split} example {i}" for i in range(where.start, where.stop)]
        tables: dict[str, Columns] = {
            "examples": example_columns(
                split,
                labels if self.has_classes else None,
                [self.class_names[label] for label in labels] if self.has_classes else names,
                texts=texts,
                thumbnails=pictures,
                first=block.start,
            )
        }
        if split == "test" and self.all_classes:
            tables["targets"] = target_columns(labels, self.class_names, block.start)
        predictions, features, targets = [], [], cut_to(torch.from_numpy(labels), block.labels)
        for checkpoint_id in range(self.n_checkpoints):
            computed = self.fitted.features_of_run(split, checkpoint_id, block, targets, self.proj_dim)
            known = _predictions(
                self.fitted.task_at(checkpoint_id, split), computed.outputs, targets, self.fitted.device
            )
            outputs = computed.model_output[None].float().numpy()
            predictions.append(prediction_columns([checkpoint_id], split, outputs, **known, first=block.start))
            q, norm, phi = (values.float().numpy() for values in (computed.q, computed.norm, computed.rows))
            features.append(feature_columns(checkpoint_id, split, q, norm, phi, block.start))
        return {**tables, "predictions": joined(predictions), "features": joined(features)}

    def _scored_at_once(self) -> int:
        n_classes = len(self.class_names) if self.all_classes else 1
        budget = self.attributor.options.memory_budget // 8
        return max(1, min(64, budget // (4 * n_classes * self.fitted.n_train)))

    def _scores(self, block: Block) -> dict[str, Columns]:
        """Scores of some test examples for their labels, and for every other class where these are wanted."""
        began, every, name = time.process_time(), self.labels["test"], self.method.name
        labels = every[block.start : block.start + len(block)]
        tables = score_tables(name, self._scores_of(block, every), block.start)
        if self.all_classes:
            of_classes = [np.full(len(every), number) for number in range(len(self.class_names))]
            # [n_block, n_classes, n_train]
            scores = np.stack([self._scores_of(block, targets) for targets in of_classes], axis=1)
            test_idx, target = class_targets(labels, len(self.class_names), block.start)
            tables["target_scores"] = target_score_columns(
                name, test_idx, target, scores[test_idx - block.start, target - 1]
            )
        self.seconds += time.process_time() - began
        return tables

    def _scores_of(self, block: Block, targets: NDArray[Any]) -> NDArray[np.float32]:
        """Scores of some test examples, for the targets of all of them `[n_test]`."""
        where = slice(block.start, block.start + len(block))
        if self.fitted.is_streaming:
            return np.concatenate([*self.attributor.iter_scores(Data(block.batches, "test"), targets[where])])
        if (key := targets.tobytes()) not in self._whole:
            self._whole[key] = self.attributor.score(self.data["test"], targets)
        return self._whole[key][where]

    def _class_influence(self, writer: StoreWriter) -> Columns:
        """Mean scores by class of the test examples; where there are no classes, over all of them."""
        labels = self.labels["test"] if self.has_classes else np.zeros(len(self.labels["test"]), dtype=np.int64)
        query = 'SELECT "values" FROM scores WHERE test_idx IN (SELECT unnest(?::INTEGER[])) ORDER BY test_idx'
        return class_influence_columns(
            self.method.name, labels, lambda test_idx: writer.arrays(query, "values", [test_idx.tolist()])
        )

    def _summary(self, writer: StoreWriter) -> None:
        attributor, n = self.attributor, self.n_checkpoints
        accuracy = writer.columns(
            "SELECT split, avg((predicted = label)::INTEGER) AS accuracy FROM predictions JOIN examples "
            "USING (split, idx) GROUP BY checkpoint_id, split ORDER BY checkpoint_id"
        )
        sha256s = [file_sha256(self.files.checkpoint(i)) for i in range(n)]
        accuracies = {
            f"{split}_accuracy": accuracy["accuracy"][accuracy["split"] == split] if self.has_classes else [None] * n
            for split in ("train", "test")
        }
        tables = {
            "checkpoints": {"checkpoint_id": np.arange(n), "sha256": sha256s, **accuracies},
            "methods": method_columns(
                self.method.name,
                self.method.title,
                self.method.description,
                score_fingerprint(self.fingerprint, sha256s, self.ridge, self.method.name),
                is_baseline=self.method.is_baseline,
                is_control=self.method.is_control,
                seconds=self.seconds,
            ),
        }
        plan, uncalibrated = attributor.plan, 1.0 if attributor.task.is_quadratic else None
        meta = run_meta(
            recipe=SAVED,
            title=self.title,
            modality=attributor.task.modality,
            class_names=self.class_names,
            task=attributor.task.name,
            has_answer=attributor.task.has_answer,
            method=self.method.name,
            proj_dim=self.proj_dim,
            n_subsets=0,
            n_seeds=0,
            seed=attributor.options.seed,
            device=str(attributor.device),
            n_checkpoints=n,
            ridge=self.ridge,
            # The factor that brought scores to the unit of the model output; None where they have none.
            calibration=uncalibrated if self.calibration is None else self.calibration.factor,
            calibration_of_other_targets=None,
            gradients=f"{plan.gradients} ({plan.gradients_reason})",
            projection=f"{plan.projection} ({plan.projection_reason})",
            kernel=self.fitted.kernel,
            parameters=n_parameters(attributor.layers),
            complete=True,
        )
        writer.write("summary", tables, meta)


def _predictions(task: Task, outputs: Tensor, targets: Tensor, device: torch.device) -> dict[str, NDArray[Any]]:
    """Further columns of `predictions` at one checkpoint, which the task is ready for, as far as it has them."""
    known, outputs = {}, outputs.to(device)
    if task.has_loss:
        known["loss"] = task.loss(outputs, targets.to(device))[None].float().cpu().numpy()
    answer = task.answer(outputs)
    answer = None if answer is None else answer.cpu()
    of_label = None if answer is None else answer.probability_of(targets)
    if answer is not None and answer.probabilities is not None and of_label is not None:
        known |= {
            "p_label": of_label[None].float().numpy(),
            "predicted": answer.value[None].numpy(),
            "probabilities": answer.probabilities[None].float().numpy(),
        }
    return known


def _digest_of(values: Sequence[Any]) -> str:
    """SHA-256 (hex) over pictures or texts in their order."""
    digest = hashlib.sha256()
    for value in values:
        digest.update((value if isinstance(value, bytes) else str(value).encode()) + b"\0")
    return digest.hexdigest()
