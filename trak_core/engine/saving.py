"""Writes what an `Attributor` knows as a run that the explorer opens.

Block by block into a working store, as a build does: a save that is interrupted goes on where it was when the same
call is made again.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tqdm.auto import tqdm

from trak_core.engine.featurizer import Features
from trak_core.engine.shown import digest_of, names_of_outputs, shown_by_split
from trak_core.errors import InvalidDataError, InvalidSettingError, RunMismatchError
from trak_core.gradients import n_parameters
from trak_core.media import first_picture
from trak_core.modalities import seen_in
from trak_core.store.catalog import check_run_name
from trak_core.store.files import RunFiles, file_sha256, replace_file
from trak_core.store.progress import BuildStatus, write_status
from trak_core.store.run import is_finished
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
from trak_core.subjects.batches import Block, Data, read_data
from trak_core.tasks import Task

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
    pictures: tuple[Sequence[bytes], Sequence[bytes]] | None,
    texts: tuple[Sequence[str], Sequence[str]] | None,
    targets: str,
    show_progress: bool,
) -> Path:
    """Writes the run; arguments are those of `Attributor.save`."""
    if targets not in ("auto", "default", "all"):
        raise InvalidSettingError(f"targets={targets!r}; it must be auto, default or all.")
    check_run_name(path.name)
    saver = _Saver(attributor, path, read_data(train, "train"), read_data(test, "test"), class_names, targets)
    saver.describe(title or path.name, pictures, texts)
    if saver.is_there():
        return path
    with build_lock(saver.files):
        saver.write(show_progress)
    return path


class _Saver:
    """One save under way."""

    def __init__(
        self,
        attributor: "Attributor",
        path: Path,
        train: Data,
        test: Data,
        class_names: Sequence[str] | None,
        targets: str,
    ) -> None:
        self.attributor = attributor
        self.files = RunFiles(path)
        self.data = {"train": train, "test": test}
        self.n_checkpoints = len(attributor.checkpoints)
        self.seconds = attributor.cpu_seconds
        for split, data in self.data.items():
            if not data.can_repeat:
                raise InvalidDataError(
                    f"{split} can be read once only; give a list of batches, a DataLoader or arrays."
                )
        self.block_size = attributor.fitted.block_size
        self.has_classes = attributor.task.has_classes
        answer = attributor.fitted.answer(next(test.blocks(1))) if self.has_classes else None
        n_outputs = 1 if answer is None or answer.probabilities is None else answer.probabilities.shape[-1]
        self.labels = {split: self._read_labels(data, n_outputs) for split, data in self.data.items()}
        self.digests = {
            split: [block.digest for block in data.blocks(self.block_size)] for split, data in self.data.items()
        }
        self._check_train()
        if not self.has_classes:
            class_names = class_names or ("model output",)
        self.class_names = names_of_outputs(class_names, n_outputs)
        size = len(self.labels["test"]) * n_outputs * attributor.fitted.n_train * 4
        # Methods that see all test examples at once take as long for every further target as for the first.
        fits = attributor.fitted.is_streaming and size <= attributor.options.memory_budget
        self.all_classes = self.has_classes and (targets == "all" or (targets == "auto" and fits))
        self.proj_dim = attributor.fitted.feature_width or min(LIVE_PROJ_DIM, n_parameters(attributor.layers))
        calibrated = None if attributor.calibration is None else attributor.calibration.ridge
        self.ridge = attributor.options.ridge if calibrated is None else calibrated
        self.method = attributor.method.info
        self._whole: dict[bytes, NDArray[np.float32]] = {}

    def describe(
        self,
        title: str,
        pictures: tuple[Sequence[bytes], Sequence[bytes]] | None,
        texts: tuple[Sequence[str], Sequence[str]] | None,
    ) -> None:
        """What people see of the run and its examples."""
        self.title = title
        self.shown = shown_by_split(pictures, texts, {split: len(labels) for split, labels in self.labels.items()})
        parts = {
            **self.attributor.fitted.settings,
            "ridge": self.ridge,
            "calibration": None if self.attributor.calibration is None else self.attributor.calibration.factor,
            "data": self.digests,
            "class_names": self.class_names,
            "all_classes": self.all_classes,
            "title": title,
            "shown": {
                split: {name: digest_of(values) for name, values in of.items()} for split, of in self.shown.items()
            },
        }
        self.fingerprint = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _read_labels(self, data: Data, n_outputs: int) -> NDArray[Any]:
        parts = []
        for batch in data.batches():
            if batch.labels is None:
                raise InvalidDataError(f"{data.what} has no labels; a run shows each example with its label.")
            parts.append(batch.labels.cpu())
        labels = torch.cat(parts)
        if labels.dim() != 1:
            raise InvalidDataError(
                f"{data.what} labels have shape {tuple(labels.shape)}; the explorer shows one number for each example. "
                "Use score(), proponents() and opponents() for such tasks."
            )
        if self.has_classes:
            self.attributor.task.check(torch.zeros(len(labels), n_outputs), labels)
        return labels.numpy()

    def _check_train(self) -> None:
        """Refuses train examples that are not those of the features."""
        stored = self.attributor.fitted.digests()
        if stored != self.digests["train"]:
            place = next((i for i, (a, b) in enumerate(zip(stored, self.digests["train"], strict=False)) if a != b), -1)
            where = (
                f"from example {place * self.block_size} on"
                if place >= 0
                else f"in number ({len(self.labels['train'])})"
            )
            raise RunMismatchError(
                f"train differs {where} from the {self.attributor.fitted.n_train} examples that were fitted; give "
                "save() the same data in the same order."
            )

    def is_there(self) -> bool:
        """True when the finished run is there; an error when another run is."""
        return is_finished(
            self.files,
            self.fingerprint,
            f"run {self.files.run_dir.name!r} is there already with other settings, weights or data; save under "
            f"another path, or delete {self.files.run_dir} first.",
        )

    def write(self, show_progress: bool) -> None:
        """Writes what is not written yet, and publishes it."""
        if self.files.store.exists():
            clear_site(self.files)  # published by a save that was stopped while tidying up
            return
        shape = Shape(self.attributor.fitted.n_train, len(self.class_names), self.proj_dim)
        total = sum(len(labels) for labels in self.labels.values()) + len(self.labels["test"])
        with (
            StoreWriter(self.files, shape, self.fingerprint) as writer,
            tqdm(total=total, desc="saving", unit=" examples", disable=not show_progress, leave=False) as bar,
        ):
            self._tell(0.0)
            self._checkpoints(writer)
            for split, data in self.data.items():
                for block in data.blocks(self.block_size):
                    if not writer.has(f"{split} {block.start}"):
                        writer.write(f"{split} {block.start}", self._block(split, block))
                    bar.update(len(block))
                    self._tell(bar.n / total)
            for block in self.data["test"].blocks(self._scored_at_once()):
                if not writer.has(f"scores {block.start}"):
                    began = time.process_time()
                    writer.write(f"scores {block.start}", self._scores(block))
                    self.seconds += time.process_time() - began
                bar.update(len(block))
                self._tell(bar.n / total)
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

    def _unit(self) -> float | None:
        """The factor that brought scores to the unit of the model output; None where they have none."""
        if self.attributor.calibration is not None:
            return self.attributor.calibration.factor
        return 1.0 if self.attributor.task.is_quadratic else None

    # --- blocks -------------------------------------------------------------------------------------------

    def _checkpoints(self, writer: StoreWriter) -> None:
        if writer.has("checkpoint files"):
            return
        for i in range(self.n_checkpoints):
            state = {
                # Tied weights are one tensor under two names, which the format does not hold.
                name: value.detach().cpu().contiguous().clone()
                for name, value in self.attributor.checkpoints.state_dict(i).items()
            }
            replace_file(self.files.checkpoint(i), partial(save_file, state))
        writer.write("checkpoint files", {})

    def _block(self, split: str, block: Block) -> dict[str, Columns]:
        """Examples, predictions and features of a block, at every checkpoint."""
        where = slice(block.start, block.start + len(block))
        labels = self.labels[split][where]
        texts = list(self.shown[split]["text"][where])
        pictures = list(self.shown[split]["thumbnail"][where]) or _pictures(block)
        if not any(pictures) and not any(texts):
            texts = [f"{split} example {i}" for i in range(where.start, where.stop)]
        tables: dict[str, Columns] = {
            "examples": example_columns(
                split,
                labels if self.has_classes else None,
                [self.class_names[label] if self.has_classes else f"{label:.4g}" for label in labels],
                texts=texts,
                thumbnails=pictures,
                first=block.start,
            )
        }
        if split == "test" and self.all_classes:
            tables["targets"] = target_columns(labels, self.class_names, block.start)
        predictions, features, fitted = [], [], self.attributor.fitted
        for checkpoint_id in range(self.n_checkpoints):
            computed = fitted.features_of_run(split, checkpoint_id, block, torch.from_numpy(labels), self.proj_dim)
            task, device = fitted.task_at(checkpoint_id, split), self.attributor.device
            predictions.append(_predictions(task, checkpoint_id, split, computed, labels, block.start, device))
            q, norm, phi = (values.float().numpy() for values in (computed.q, computed.norm, computed.rows))
            features.append(feature_columns(checkpoint_id, split, q, norm, phi, block.start))
        return {**tables, "predictions": joined(predictions), "features": joined(features)}

    def _scored_at_once(self) -> int:
        n_classes = len(self.class_names) if self.all_classes else 1
        return max(
            1, min(64, self.attributor.options.memory_budget // 8 // (4 * n_classes * self.attributor.fitted.n_train))
        )

    def _scores(self, block: Block) -> dict[str, Columns]:
        """Scores of some test examples for their labels, and for every other class where these are wanted."""
        labels = self.labels["test"][block.start : block.start + len(block)]
        every, name = self.labels["test"], self.method.name
        tables = score_tables(name, self._scores_of(block, every), block.start)
        if self.all_classes:
            of_classes = [np.full(len(every), number) for number in range(len(self.class_names))]
            # [n_block, n_classes, n_train]
            scores = np.stack([self._scores_of(block, targets) for targets in of_classes], axis=1)
            test_idx, target = class_targets(labels, len(self.class_names), block.start)
            tables["target_scores"] = target_score_columns(
                name, test_idx, target, scores[test_idx - block.start, target - 1]
            )
        return tables

    def _scores_of(self, block: Block, targets: NDArray[Any]) -> NDArray[np.float32]:
        """Scores of some test examples, for the targets of all of them `[n_test]`."""
        where = slice(block.start, block.start + len(block))
        if self.attributor.fitted.is_streaming:
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
                seconds=self.seconds,
            ),
        }
        plan = attributor.plan
        meta = run_meta(
            recipe="python",
            title=self.title,
            modality=attributor.task.modality,
            class_names=self.class_names,
            task=attributor.task.name,
            method=self.method.name,
            proj_dim=self.proj_dim,
            n_subsets=0,
            n_seeds=0,
            seed=attributor.options.seed,
            device=str(attributor.device),
            n_checkpoints=n,
            ridge=self.ridge,
            calibration=self._unit(),
            calibration_of_other_targets=None,
            gradients=f"{plan.gradients} ({plan.gradients_reason})",
            projection=f"{plan.projection} ({plan.projection_reason})",
            kernel=attributor.fitted.kernel,
            parameters=n_parameters(attributor.layers),
            complete=True,
        )
        writer.write("summary", tables, meta)


def _predictions(
    task: Task,
    checkpoint_id: int,
    split: str,
    computed: Features,
    labels: NDArray[Any],
    first: int,
    device: torch.device,
) -> Columns:
    """Columns of `predictions` at one checkpoint, whose device the task is ready for."""
    targets, outputs = torch.from_numpy(labels), computed.outputs.to(device)
    known: dict[str, NDArray[Any]] = {}
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
    return prediction_columns([checkpoint_id], split, computed.model_output[None].float().numpy(), **known, first=first)


def _pictures(block: Block) -> list[bytes | None]:
    """The first picture of what the inputs of a block look like; None where nothing knows what they look like."""
    return [first_picture(media) for batch in block.batches for media in seen_in(batch.inputs) or [()] * len(batch)]
