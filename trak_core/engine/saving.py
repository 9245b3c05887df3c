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
from torch import Tensor
from tqdm.auto import tqdm

from trak_core.engine.featurizer import Features
from trak_core.engine.stored_kernels import uses_dual
from trak_core.errors import InvalidDataError, InvalidSettingError, RunMismatchError
from trak_core.gradients import n_parameters
from trak_core.methods import METHODS
from trak_core.projection import SjltProjection, SketchMap, WholeMap
from trak_core.seeds import derive_seed
from trak_core.store.catalog import check_run_name
from trak_core.store.class_influence import class_influence_columns
from trak_core.store.files import RunFiles, replace_file
from trak_core.store.fingerprints import file_sha256, score_fingerprint
from trak_core.store.progress import BuildStatus, write_status
from trak_core.store.run import is_finished
from trak_core.store.schema import Shape
from trak_core.store.topk import topk_columns
from trak_core.store.writer import StoreWriter, build_lock, clear_site
from trak_core.subjects.batches import Block, Data, read_data
from trak_core.subjects.thumbnails import thumbnails
from trak_core.tasks import Classification, Regression
from trak_core.versions import versions

if TYPE_CHECKING:
    from trak_core.engine.attributor import Attributor

__all__ = ["save_run"]

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
    asked_classes: str,
    show_progress: bool,
) -> Path:
    """Writes the run; arguments are those of `Attributor.save`."""
    if asked_classes not in ("auto", "label", "all"):
        raise InvalidSettingError(f"asked_classes={asked_classes!r}; it must be auto, label or all.")
    check_run_name(path.name)
    saver = _Saver(attributor, path, read_data(train, "train"), read_data(test, "test"), class_names, asked_classes)
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
        asked_classes: str,
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
        self.has_classes = isinstance(attributor.task, Classification)
        n_outputs = attributor.fitted.mean_probabilities(next(test.blocks(1))).shape[-1] if self.has_classes else 1
        self.labels = {split: self._read_labels(data, n_outputs) for split, data in self.data.items()}
        self.digests = {
            split: [block.digest for block in data.blocks(self.block_size)] for split, data in self.data.items()
        }
        self._check_train()
        if isinstance(class_names, str):
            raise InvalidSettingError(f"class_names={class_names!r}; give a list of names.")
        if not self.has_classes:
            class_names = class_names or ("model output",)
        names = tuple(map(str, class_names if class_names is not None else range(n_outputs)))
        if len(names) != n_outputs or len(set(names)) != n_outputs:
            raise InvalidSettingError(
                f"class_names holds {len(names)} names, {len(set(names))} of them different, but the model has "
                f"{n_outputs} outputs to explain; give each a name of its own."
            )
        self.class_names = names
        size = len(self.labels["test"]) * n_outputs * attributor.fitted.n_train * 4
        fits = size <= attributor.options.memory_budget
        self.all_classes = self.has_classes and (asked_classes == "all" or (asked_classes == "auto" and fits))
        projected = attributor.plan.projection != "none"
        self.proj_dim = attributor.fitted.width if projected else min(LIVE_PROJ_DIM, n_parameters(attributor.layers))
        self.ridge = attributor.options.ridge if attributor.calibration is None else attributor.calibration.ridge

    def describe(
        self,
        title: str,
        pictures: tuple[Sequence[bytes], Sequence[bytes]] | None,
        texts: tuple[Sequence[str], Sequence[str]] | None,
    ) -> None:
        """What people see of the run and its examples."""
        self.title = title
        self.shown: dict[str, dict[str, Sequence[Any]]] = {"train": {}, "test": {}}
        for name, given in (("thumbnail", pictures), ("text", texts)):
            for split, values in zip(("train", "test"), given or ((), ()), strict=True):
                if given is not None and len(values) != len(self.labels[split]):
                    raise InvalidDataError(
                        f"{name}s hold {len(values)} entries for {len(self.labels[split])} {split} examples; give one "
                        "for each."
                    )
                self.shown[split][name] = values
        parts = {
            **self.attributor.fitted.settings,
            "ridge": self.ridge,
            "calibration": None if self.attributor.calibration is None else self.attributor.calibration.factor,
            "data": self.digests,
            "class_names": self.class_names,
            "all_classes": self.all_classes,
            "title": title,
            "shown": {
                split: {name: _digest(values) for name, values in of.items()} for split, of in self.shown.items()
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
        return 1.0 if isinstance(self.attributor.task, Regression) else None

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
        labels, idx = self.labels[split][where], np.arange(where.start, where.stop)
        examples: Columns = {
            "split": [split] * len(block),
            "idx": idx,
            "label": labels if self.has_classes else np.zeros(len(block), dtype=np.int64),
            "label_name": [self.class_names[label] if self.has_classes else f"{label:.4g}" for label in labels],
            "text": list(self.shown[split]["text"][where]) or [None] * len(block),
            "thumbnail": list(self.shown[split]["thumbnail"][where]) or thumbnails(block),
        }
        if not any(examples["thumbnail"]) and not any(examples["text"]):
            examples["text"] = [f"{split} example {i}" for i in idx]
        predictions, features = [], []
        for checkpoint_id in range(self.n_checkpoints):
            computed = self._features(split, checkpoint_id, block)
            common = {"checkpoint_id": np.full(len(block), checkpoint_id), "split": [split] * len(block), "idx": idx}
            predictions.append({**common, **self._predictions(computed.outputs, labels)})
            features.append(
                {**common, "q": computed.q.float(), "norm": computed.norm.float(), "phi": computed.rows.float().numpy()}
            )
        return {"examples": examples, "predictions": _joined(predictions), "features": _joined(features)}

    def _features(self, split: str, checkpoint_id: int, block: Block) -> Features:
        """Features as the run holds them: those that are there for train examples, computed for test examples."""
        attributor = self.attributor
        if split == "train":
            computed = attributor.fitted.stored(checkpoint_id, block)
        else:
            computed = attributor.fitted.features(
                checkpoint_id, block, torch.from_numpy(self.labels[split][block.start : block.start + len(block)])
            )
        feature_map = attributor.fitted.maps[checkpoint_id]
        if isinstance(feature_map, WholeMap):
            seed = derive_seed(attributor.options.seed, "live projection", checkpoint_id)
            sketch = SketchMap(attributor.layers, SjltProjection(self.proj_dim, seed))
            rows = torch.cat(
                [sketch.rows(feature_map.packed.unpack(part))[0] for part in torch.split(computed.rows, 64)]
            )
            computed = Features(rows, computed.q, computed.norm, computed.model_output, computed.outputs)
        return computed

    def _predictions(self, outputs: Tensor, labels: NDArray[Any]) -> Columns:
        task, asked = self.attributor.task, torch.from_numpy(labels)
        if not isinstance(task, Classification):
            known = task.loss(outputs, asked).float().numpy() if isinstance(task, Regression) else None
            return {
                "model_output": task.model_output(outputs, asked).float().numpy(),
                "loss": [None] * len(labels) if known is None else known,
                "p_label": [None] * len(labels),
                "predicted": np.zeros(len(labels), dtype=np.int64),
                "probabilities": np.ones((len(labels), 1), dtype=np.float32),
            }
        probabilities = outputs.double().softmax(-1)
        return {
            "model_output": task.model_output(outputs, asked).float().numpy(),
            "loss": task.loss(outputs, asked).float().numpy(),
            "p_label": probabilities.gather(1, asked[:, None])[:, 0].float().numpy(),
            "predicted": outputs.argmax(-1).numpy(),
            "probabilities": probabilities.float().numpy(),
        }

    def _scored_at_once(self) -> int:
        n_classes = len(self.class_names) if self.all_classes else 1
        return max(
            1, min(64, self.attributor.options.memory_budget // 8 // (4 * n_classes * self.attributor.fitted.n_train))
        )

    def _scores(self, block: Block) -> dict[str, Columns]:
        """Scores of some test examples for their labels, and for every other class where these are wanted."""
        labels = self.labels["test"][block.start : block.start + len(block)]
        idx = np.arange(block.start, block.start + len(block))
        tables: dict[str, Columns] = {}
        of_label = self._scores_of(block, labels)
        if self.all_classes:
            every = np.stack(
                [self._scores_of(block, np.full(len(block), asked)) for asked in range(len(self.class_names))], axis=1
            )  # [n_block, n_classes, n_train]
            at, asked_class = np.nonzero(np.arange(len(self.class_names))[None] != labels[:, None])
            tables["class_scores"] = {
                "method": ["trak"] * len(at),
                "test_idx": idx[at],
                "asked_class": asked_class,
                "values": every[at, asked_class],
            }
        tables["scores"] = {"method": ["trak"] * len(block), "test_idx": idx, "values": of_label}
        tables["topk"] = topk_columns({"trak": of_label}, first=block.start)
        return tables

    def _scores_of(self, block: Block, asked: NDArray[Any]) -> NDArray[np.float32]:
        data = Data(block.batches, "test")
        return np.concatenate([*self.attributor.iter_scores(data, asked)])

    def _class_influence(self, writer: StoreWriter) -> Columns:
        """Mean scores by class of the test examples; where there are no classes, over all of them."""
        labels = self.labels["test"] if self.has_classes else np.zeros(len(self.labels["test"]), dtype=np.int64)
        query = 'SELECT "values" FROM scores WHERE test_idx IN (SELECT unnest(?::INTEGER[])) ORDER BY test_idx'
        return class_influence_columns(
            "trak", labels, lambda test_idx: writer.arrays(query, "values", [test_idx.tolist()])
        )

    def _summary(self, writer: StoreWriter) -> None:
        attributor, n = self.attributor, self.n_checkpoints
        accuracy = writer.columns(
            "SELECT split, avg((predicted = label)::INTEGER) AS accuracy FROM predictions JOIN examples "
            "USING (split, idx) GROUP BY checkpoint_id, split ORDER BY checkpoint_id"
        )
        sha256s = [file_sha256(self.files.checkpoint(i)) for i in range(n)]
        checkpoints = {
            "checkpoint_id": list(range(n)),
            "sha256": sha256s,
            **{
                f"{split}_accuracy": accuracy["accuracy"][accuracy["split"] == split].tolist()
                if self.has_classes
                else [None] * n
                for split in ("train", "test")
            },
        }
        method = METHODS["trak"].info
        methods = {
            "method": [method.name],
            "title": [method.title],
            "description": [method.description],
            "is_baseline": [method.is_baseline],
            "seconds": [self.seconds],
            "fingerprint": [score_fingerprint(self.fingerprint, sha256s, self.ridge, method.name)],
        }
        plan = attributor.plan
        meta = {
            "recipe": "python",
            "title": self.title,
            "modality": attributor.task.modality,
            "class_names": self.class_names,
            "task": attributor.task.name,
            "method": "trak",
            "seed": attributor.options.seed,
            "device": str(attributor.device),
            "n_checkpoints": n,
            "proj_dim": self.proj_dim,
            "n_subsets": 0,
            "n_seeds": 0,
            "asked_classes": "all" if self.all_classes else "label",
            "ridge": self.ridge,
            "calibration": self._unit(),
            "calibration_of_other_classes": None,
            "gradients": f"{plan.gradients} ({plan.gradients_reason})",
            "projection": f"{plan.projection} ({plan.projection_reason})",
            "kernel": "dual"
            if uses_dual(attributor.fitted.maps[0].is_linear, attributor.fitted.n_train, attributor.fitted.width)
            else "primal",
            "parameters": n_parameters(attributor.layers),
            "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "versions": versions(),
            "complete": True,
        }
        writer.write("summary", {"checkpoints": checkpoints, "methods": methods}, meta)


def _joined(parts: list[Columns]) -> Columns:
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}


def _digest(values: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for value in values:
        digest.update(value if isinstance(value, bytes) else str(value).encode())
        digest.update(b"\0")
    return digest.hexdigest()
