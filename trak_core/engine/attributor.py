"""`Attributor`: any PyTorch model in, scores out.

```
examples ──► gradients ──► features, block by block ──► store ──► kernel of each checkpoint ──► scores
```

TRAK (Park et al. 2023, arXiv 2303.14186, section 3) with a ridge. For regression scores are in units of the model
output: a score of 1 says that the training example raises it by 1. For classification TRAK leaves out how strongly the
loss curves (its R), so scores have the right sign and order but are too small by a factor that depends on the model;
`calibrate` finds it by retrained models, and scores are in units of the model output from then on.
"""

import operator
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm.auto import tqdm

from trak_core.engine.calibration import Calibration, calibrate, check_masks
from trak_core.engine.fitted import Fitted, Setup, copied
from trak_core.engine.fitted_examples import FittedExamples
from trak_core.engine.fitted_features import FittedFeatures
from trak_core.engine.given_logs import GivenLog, read_logs
from trak_core.engine.options import Options
from trak_core.engine.plan import Plan
from trak_core.engine.saved_run import measure_saved
from trak_core.engine.score_matrix import strongest_table, whole_matrix
from trak_core.engine.settings import resolve_device
from trak_core.errors import InvalidDataError, InvalidSettingError
from trak_core.gradients import Precision, find_layers, n_parameters
from trak_core.methods import DEFAULT_RIDGE, RIDGES, check_ridge, find_method, soft_threshold
from trak_core.store.ranking import Side
from trak_core.subjects.batches import Data, read_data
from trak_core.subjects.reading import Reading
from trak_core.tasks import Task, find_task
from trak_core.training import TrainModel
from trak_core.training.adapters import train_adapters
from trak_core.training.weights import Checkpoint, Checkpoints

Scores = NDArray[np.float32]


class Attributor:
    """Attributes the outputs of a model to its training examples.

    ```python
    attributor = trak_core.Attributor(model, task="image_classification", checkpoints=[first, second])
    attributor.fit((train_images, train_labels))
    scores = attributor.score((test_images, test_labels))  # [n_test, n_train]
    ```

    Args:
        model: any module that returns logits, or an object with `logits`, for a batch, or what the task can read. It
            is copied, and the copy runs in evaluation mode; its own weights are used only where `checkpoints` is None.
        task: "image_classification", "text_classification", "regression", or a task of your own, such as a
            `CustomTask`.
        checkpoints: weights to average over: state dicts, paths of .safetensors or torch files, modules, or folders as
            Hugging Face writes them (`save_pretrained`, adapters, the output of a Trainer). Models trained apart from
            each other give better scores than one, and so do five than two.
        method: "trak", or another whose needs checkpoints alone meet: trak_threshold, trak_dropout, trak_forward,
            lora_ensemble, influence_exact, influence_cg, influence_fisher, influence_ekfac, logra, grad_dot, grad_cos,
            trackstar, embedding, nearest, grad_norm, same_class, random; with `training_logs` also tracin and source.
        proj_dim: dimension of projected gradients. None takes whole gradients (the exact kernel) when there are few
            train examples, else a dimension by the size of the model; `plan` tells which.
        seed: of the projections; one seed gives the same features on every device.
        device: "auto", "cpu" or "cuda".
        projection: "auto", "none", "sjlt", "rademacher" or "kronecker".
        parameters: shell patterns of names, such as "fc*"; other parameters are never differentiated. None: all that
            require gradients.
        gradients: "auto", "hooks", "functional" or "loop".
        ridge: relative to the mean squared gradient norm.
        precision: "float32"; "float64"; "bfloat16" or "float16" run the model in mixed precision.
        batch_size: the most examples at once; None takes that of the loader, and less where memory is short.
        memory_budget: bytes; by halves for features and for the rows that kernels read, a quarter for kernels, and
            the most that a score matrix may take, beside the data, the model and torch themselves.
        training_logs: for tracin and source, one for each training: folders that a `TrainerLog` wrote (one may stand
            alone), or logs of a loop. Without `checkpoints`, their last states are these.
        store: a run directory to write features to as they come. The same call goes on there after an interruption.
            None keeps them in memory, or in a temporary file when the budget is too small.
        progress: whether to show a progress bar.

    Attributes:
        calibration: of `calibrate`, None before.
        cpu_seconds: that the last `fit` took.

    Raises:
        InvalidModelError: the task cannot be asked of a model of this kind.
        InvalidSettingError: a setting cannot work; the message says which values can.
        CheckpointMismatchError: weights do not fit the model.
    """

    def __init__(
        self,
        model: nn.Module,
        task: str | Task = "image_classification",
        checkpoints: Sequence[Checkpoint] | str | Path | None = None,
        method: str = "trak",
        proj_dim: int | None = None,
        seed: int = 0,
        device: str = "auto",
        *,
        projection: str = "auto",
        parameters: str | Sequence[str] | None = None,
        gradients: str = "auto",
        ridge: float = DEFAULT_RIDGE,
        precision: Precision = "float32",
        batch_size: int | None = None,
        memory_budget: int = 2**30,
        training_logs: Sequence[GivenLog] | str | Path = (),
        store: str | Path | None = None,
        progress: bool = True,
    ) -> None:
        self.method = find_method(method)
        chosen = (proj_dim, seed, projection, parameters, gradients, ridge, precision, batch_size, memory_budget)
        self.options = Options(*chosen)
        self.options.check_method(self.method.info, has_store=store is not None)
        self.task = find_task(task)
        self.device = torch.device(resolve_device(device))
        self.task.check_model(model)
        # A copy: the caller's model keeps its mode, its device and its hooks.
        self.model = copied(model).to(self.device, self.options.dtype).eval()
        train_adapters(self.model)
        self.layers = find_layers(self.model, parameters)
        logs = read_logs(training_logs, self.model, self.device, self.method.info)
        if checkpoints is None:
            checkpoints = [log.ends[-1].parameters for log in logs] or [model]
        self.checkpoints = Checkpoints(self.model, checkpoints, self.device, self.options.dtype)
        self._setup = Setup(self.model, self.task, self.layers, self.checkpoints, self.options, self.device, logs)
        self._setup.check_needs(self.method.info)
        self.calibration: Calibration | None = None
        self.cpu_seconds = 0.0
        self._show_progress = progress
        self._store_dir = None if store is None else Path(store)
        self._fitted: Fitted | None = None
        self._saved: dict[Path, tuple[Any, Any]] = {}  # the train and test examples of each run that was saved

    # --- training examples --------------------------------------------------------------------------------

    def fit(self, train: Any) -> "Attributor":
        """Computes the features of all train examples at every checkpoint; returns the attributor itself.

        Methods other than TRAK see train and test examples together: for them the train examples are read into memory,
        and `score` computes the rest.

        Args:
            train: a DataLoader without shuffling, an iterable of batches, or `(inputs, labels)` as numpy arrays or
                torch tensors. Inputs may be a tensor, a tuple or a dict of tensors, also nested as loaders give them; a
                dict may hold its labels.

        Raises:
            EmptyDataError: there are no examples.
            ShuffledDataError: the examples come in another order each time.
            LabelError: labels are of the wrong kind or out of range.
            InvalidModelError: the model cannot be attributed; NoLogitsError if it returns no logits.
            NonFiniteGradientError: a gradient is NaN or infinite; the message names the example and the layer.
            RunMismatchError: the store holds features of other weights, data or settings.
            OutOfMemoryError: not even one example fits, or the exact kernel does not; for methods other than TRAK, not
                all train examples do.
            StorageError: the disk is full, read-only or failing. Whatever the error, blocks in a `store` are kept.
        """
        began = time.process_time()
        data = self.read(train, "train")
        data.read_through()
        is_trak = self.method.info.name == "trak"
        if is_trak and not data.can_repeat and len(self.checkpoints) > 1:
            raise InvalidDataError(
                f"train can be read once only (a {type(train).__name__}), but there are {len(self.checkpoints)} "
                "checkpoints to pass it through; give a list of batches, a DataLoader or arrays."
            )
        self.close()
        given = (self._setup, data.first())
        fitted = (
            FittedFeatures(*given, data.n_examples, self._store_dir) if is_trak else FittedExamples(self.method, *given)
        )
        try:
            total = None if data.n_examples is None else data.n_examples * fitted.n_passes
            what, hidden = "gradients" if is_trak else "reading", not self._show_progress
            with tqdm(total=total, desc=what, unit=" examples", disable=hidden, leave=False) as bar:
                fitted.compute(data, bar.update)
        except BaseException:
            fitted.close()
            raise
        self.calibration = None
        self._fitted = fitted
        self.cpu_seconds = time.process_time() - began
        return self

    def read(self, source: Any, what: str) -> Data:
        """The examples of a source as the model takes them, for "train" or "test"."""
        return read_data(
            source, what, self.options.batch_size, Reading(self.task, self.model, self.options.memory_budget)
        )

    @property
    def fitted(self) -> Fitted:
        """What is known of the train examples.

        Raises:
            InvalidSettingError: `fit` was not called yet, or `close` was.
        """
        if self._fitted is None:
            raise InvalidSettingError("nothing is fitted yet; call fit(train) first.")
        return self._fitted

    @property
    def plan(self) -> Plan:
        """How gradients are computed and projected, and why; `print` it. Errors as in `fitted`."""
        return self.fitted.plan

    # --- scores -------------------------------------------------------------------------------------------

    def score(self, test: Any, targets: Any = None, *, ridge: float | None = None, threshold: float = 0.0) -> Scores:
        """Scores of all train examples for each test example: float32 `[n_test, n_train]`.

        Positive means that the train example raises the test example's model output: by so many units of it once
        `calibrate` was called, and for regression. The same features serve any ridge.

        Args:
            test: as `train` of `fit`; labels may be missing, in which case the model's own answer is the target.
            targets: what to ask about each test example `[n_test, ...]`, such as other classes, in place of the labels.
            ridge: relative to the mean squared gradient norm; that of the attributor by default.
            threshold: scores nearer to 0 than this become 0, others move towards it by as much; in their own unit.

        Raises:
            OutOfMemoryError: the matrix is larger than the memory budget; `iter_scores`, `proponents` and `opponents`
                need no matrix.
            ShapeMismatchError: test examples have another shape or kind than train examples.
            Others as in `fit`.
        """
        data = self.read(test, "test")
        blocks = self.iter_scores(data, targets, ridge=ridge, threshold=threshold)
        return whole_matrix(blocks, data.n_examples, self.fitted.n_train, self.options.memory_budget)

    def iter_scores(
        self, test: Any, targets: Any = None, *, ridge: float | None = None, threshold: float = 0.0
    ) -> Iterator[Scores]:
        """Blocks of rows of the score matrix in order, each `[n_block, n_train]` float32; arguments as in `score`."""
        if not threshold >= 0:
            raise InvalidSettingError(f"threshold={threshold}; it must be 0 or more, in the unit of the scores.")
        questions = self.fitted.questions(self.read(test, "test"), targets)
        for scores in self.fitted.iter_scores(questions, self._ridge(ridge)):
            yield soft_threshold(self._factor * scores, threshold).cpu().float().numpy()

    @property
    def _factor(self) -> float:
        return 1.0 if self.calibration is None else self.calibration.factor

    def _ridge(self, ridge: float | None) -> float:
        fitted, calibrated = self.fitted, None if self.calibration is None else self.calibration.ridge
        if ridge is None:
            return self.options.ridge if calibrated is None else calibrated
        if not self.method.info.has_ridge:
            raise InvalidSettingError(f"ridge={ridge}: method {self.method.info.name!r} has none; leave it out.")
        check_ridge(ridge, fitted.n_train, fitted.plan.proj_dim, self.options.dtype)
        return ridge

    def self_influence(self, *, ridge: float | None = None) -> NDArray[np.float32]:
        """The score of each train example for itself: float32 `[n_train]`, in the unit of `score`.

        The leverage of an example in the kernel, averaged over checkpoints, times its mean weight q. High values
        mean that only the example itself speaks for its label: rare, hard or wrongly labelled. For regression it
        has the sign of the residual; its size is what counts.
        """
        own = self.fitted.self_influence(self._ridge(ridge))
        return np.asarray(own.cpu().double().numpy() * self._factor, dtype=np.float32)

    def proponents(self, test: Any, k: int = 20, targets: Any = None) -> pd.DataFrame:
        """The `k` train examples with the highest scores of each test example, best first.

        Returns:
            A table with the columns test_idx, rank (from 1), train_idx, score. Equal scores are ordered by train_idx.
        """
        return self._strongest("proponent", test, k, targets)

    def opponents(self, test: Any, k: int = 20, targets: Any = None) -> pd.DataFrame:
        """The `k` train examples with the lowest scores, lowest first; otherwise like `proponents`."""
        return self._strongest("opponent", test, k, targets)

    def _strongest(self, side: Side, test: Any, k: int, targets: Any) -> pd.DataFrame:
        if operator.index(k) < 1:
            raise InvalidSettingError(f"k={k}; ask for at least 1 train example.")
        return strongest_table(self.iter_scores(test, targets), side, k)

    def calibrate(
        self, test: Any, masks: NDArray[np.bool_], outcomes: NDArray[np.float64], ridges: Sequence[float] | None = None
    ) -> Calibration:
        """Chooses the ridge and the scale of scores by models that were retrained on subsets.

        Args:
            test: test examples.
            masks: bool `[n_subsets, n_train]`, which train examples each model was trained on.
            outcomes: model outputs of the test examples after retraining `[n_subsets, n_test]`.
            ridges: candidates; 0.1 to 10 by default.

        Returns:
            The calibration, which every later score uses. Judge it on subsets that were not given here.
        """
        masks, has_ridge = check_masks(masks, outcomes, self.fitted.n_train), self.method.info.has_ridge
        candidates = RIDGES if ridges is None and has_ridge else ridges
        chosen = [self._ridge(None)] if candidates is None else [self._ridge(float(ridge)) for ridge in candidates]
        questions = self.fitted.questions(self.read(test, "test"), None)
        found = calibrate(self.fitted.predict(questions, masks, chosen), masks, outcomes)
        self.calibration = found if has_ridge else replace(found, ridge=None, lds_by_ridge={})
        return self.calibration

    # --- runs ---------------------------------------------------------------------------------------------

    def save(
        self,
        path: str | Path,
        train: Any,
        test: Any,
        class_names: Sequence[str] | None = None,
        *,
        title: str | None = None,
        thumbnails: tuple[Sequence[bytes], Sequence[bytes]] | None = None,
        texts: tuple[Sequence[str], Sequence[str]] | None = None,
        tokenizer: Any = None,
        targets: Literal["auto", "default", "all"] = "auto",
    ) -> Path:
        """Writes a run that the explorer opens; returns its directory.

        Args:
            path: the run's directory, for example `data/runs/mine`.
            train: the train examples that were fitted, again.
            test: test examples with labels.
            class_names: names of the classes, in the order of the labels; numbers by default.
            title: what people read; the directory's name by default.
            thumbnails: PNG or WebP images of the train and of the test examples. Made from the inputs where these
                are images `[n, channels, height, width]`.
            texts: the texts of the train and of the test examples.
            tokenizer: of a language model, for the texts that are asked about, and for all where `texts` are not given.
            targets: whether to score every target, such as each class, or the label alone ("default"); "auto" scores
                all of them while the scores fit into the memory budget.

        Raises:
            RunMismatchError: there is another run, or `train` is not what was fitted.
            Others as in `fit` and `score`.
        """
        from trak_core.engine.saving import save_run
        from trak_core.engine.shown import Shown

        shown = Shown(thumbnails, texts, tokenizer)
        save_run(self, run_dir := Path(path), train, test, class_names, title, shown, targets, self._show_progress)
        self._saved[run_dir.resolve()] = (train, test)
        return run_dir

    def measure(
        self, path: str | Path, train_model: TrainModel, minutes: float = 20.0, methods: Sequence[str] | None = None
    ) -> None:
        """Evidence for a run that `save` wrote: retrained models, every method with its LDS and ceiling, removal, map.

        The run is built again around the same checkpoints: TRAK's ridge is chosen on retrained models and its scores
        come in the unit of the model output. What was stopped goes on when the same calls are made again.

        Args:
            path: that `save` was given.
            train_model: `train_model(indices, seed)` or `train_model(indices, seed, log)` as `trak_core.Subject` has
                it: trains the model on these train examples alone and returns its state dict.
            minutes: that all of it may take, about.
            methods: to measure; all whose needs are met by default.

        Raises:
            InvalidSettingError: this attributor saved no run there, or the minutes cannot be.
            InvalidModelError, CheckpointMismatchError: `train_model` cannot be used.
        """
        run_dir = Path(path)
        if (saved := self._saved.get(run_dir.resolve())) is None:
            raise InvalidSettingError(
                f"path={str(path)!r}: this attributor saved no run there; call save(path, train=..., test=...) first."
            )
        measure_saved(self, run_dir, saved, train_model, minutes, methods, self._show_progress)

    def close(self) -> None:
        """Lets go of the features; a temporary file of them is deleted, a `store` is kept."""
        if self._fitted is not None:
            self._fitted.close()
            self._fitted = None

    def __enter__(self) -> "Attributor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        chosen = "not fitted" if self._fitted is None else str(self._fitted.plan)
        return f"Attributor({len(self.checkpoints)} checkpoints, {n_parameters(self.layers):,} parameters; {chosen})"
