"""EK-FAC influence of kronfluence 1.0.1 next to ours on the digits reference run: agreement, LDS and CPU seconds.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.ekfac_kronfluence

needs `pip install --no-deps kronfluence==1.0.1 accelerate einops opt_einsum einconv` (with its own dependencies it
would replace torch) and the folder of `digits_cnn.py`. Both libraries explain the margin of 360 test images by 1,437
training images at checkpoint 0, from set-up to finished scores, on one thread. The labels that the Fisher matrix is an
expectation over are either drawn, by each library in its own way, or all taken with their probabilities, which leaves
nothing to chance and so shows whether the arithmetic is the same.
"""

import copy
import importlib
import importlib.util
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from tests.benchmarks.digits_cnn import DigitsCnn, is_available, lds, load_digits_cnn, make_model
from trak_core.curvature import damped_inverse, fit_ekfac
from trak_core.gradients import GradientComputer, find_layers
from trak_core.tasks import Classification

__all__ = ["EkfacResult", "is_installed", "run_kronfluence", "run_ours", "spearman_by_test"]

INSTALL = "pip install --no-deps kronfluence==1.0.1 accelerate einops opt_einsum einconv"
BATCH = 512
DAMPINGS = (None, 1e-3, 1e-5, 1e-8)
"""None is a tenth of each layer's mean eigenvalue; 1e-8 is kronfluence's default."""
SEEDS = (0, 1, 2)
PAIRS = (
    ("ours, every, seed 0", "kronfluence, every, seed 0"),
    ("ours, drawn, seed 0", "kronfluence, drawn, seed 0"),
    ("ours, drawn, seed 0", "ours, drawn, seed 1"),
    ("kronfluence, drawn, seed 0", "kronfluence, drawn, seed 1"),
    ("ours, drawn, seed 0", "ours, every, seed 0"),
    ("kronfluence, drawn, seed 0", "kronfluence, every, seed 0"),
)

Examples = tuple[Tensor, Tensor]  # inputs [n, ...] and int64 labels [n]
Labels = Literal["drawn", "every"]
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class EkfacResult:
    """What a library found and what it took.

    Attributes:
        scores: float32 `[n_test, n_train]` by damping, positive where a training example helps.
        fit_seconds: processor time of this process until the factors were there.
        score_seconds: processor time from there to the scores of the first damping.
    """

    scores: dict[float | None, Scores]
    fit_seconds: float
    score_seconds: float


def is_installed() -> bool:
    """Whether kronfluence can be imported."""
    return importlib.util.find_spec("kronfluence") is not None


def run_ours(
    model: nn.Module,
    checkpoint: dict[str, Tensor],
    train: Examples,
    test: Examples,
    dampings: tuple[float | None, ...],
    labels: Labels,
    seed: int,
) -> EkfacResult:
    """Scores of `trak_core.curvature`."""
    began = time.process_time()
    computer = GradientComputer(model, Classification(), find_layers(model))
    computer.choose(checkpoint, *train)
    factors = fit_ekfac(
        computer, [checkpoint], train[0], seed, draws=1 if labels == "drawn" else None, batch_size=BATCH
    )
    fitted = time.process_time()
    scores: dict[float | None, Scores] = {}
    score_seconds = 0.0
    for damping in dampings:
        queries = factors.rotate(computer.compute(checkpoint, *test).layers)
        queries = factors.filter(queries, damped_inverse(damping))
        parts = []
        for inputs, asked in zip(*(values.split(BATCH) for values in train), strict=True):
            given = computer.compute(checkpoint, inputs, asked)
            parts.append(factors.score(queries, given.layers, given.q))
        scores[damping] = torch.cat(parts, dim=1).numpy()
        score_seconds = score_seconds or time.process_time() - fitted
    return EkfacResult(scores, fitted - began, score_seconds)


def run_kronfluence(
    model: nn.Module,
    checkpoint: dict[str, Tensor],
    train: Examples,
    test: Examples,
    dampings: tuple[float | None, ...],
    labels: Labels,
    seed: int,
) -> EkfacResult:
    """Scores of kronfluence, from files in a temporary folder that is deleted at the end.

    Args:
        model: the classifier; it is copied, not changed.
        checkpoint: its weights.
        train: inputs `[n_train, ...]` and labels `[n_train]`.
        test: inputs `[n_test, ...]` and labels `[n_test]`.
        dampings: numbers added to the eigenvalues; None for a tenth of each layer's mean eigenvalue.
        labels: "drawn" lets each example draw one label from the model's probabilities, in each of its two passes;
            "every" gives it each example once for every class, weighted so that the mean is the exact Fisher matrix.
        seed: of the labels.

    Raises:
        ModuleNotFoundError: kronfluence is not installed.
    """
    if not is_installed():
        raise ModuleNotFoundError(f"The comparison needs kronfluence: {INSTALL}", name="kronfluence")
    with _quiet(), tempfile.TemporaryDirectory() as directory:
        analyzer_library = importlib.import_module("kronfluence.analyzer")
        arguments = importlib.import_module("kronfluence.arguments")
        task = _kronfluence_task(labels)
        torch.manual_seed(seed)
        fitting, train_set, test_set = TensorDataset(*train), TensorDataset(*train), TensorDataset(*test)
        began = time.process_time()
        model = copy.deepcopy(model)
        model.load_state_dict(checkpoint)
        if labels == "every":
            n_classes = model(train[0][:1]).shape[1]
            classes = torch.arange(n_classes).repeat_interleave(len(train[1]))
            fitting = TensorDataset(train[0].repeat(n_classes, *(1 for _ in train[0].shape[1:])), classes)
        analyzer = analyzer_library.Analyzer(
            "comparison",
            analyzer_library.prepare_model(model, task),
            task,
            cpu=True,
            log_level=logging.ERROR,
            disable_tqdm=True,
            output_dir=directory,
        )
        analyzer.fit_all_factors(
            "ekfac",
            fitting,
            per_device_batch_size=BATCH,
            factor_args=arguments.FactorArguments(strategy="ekfac"),
        )
        fitted = time.process_time()
        scores: dict[float | None, Scores] = {}
        score_seconds = 0.0
        for damping in dampings:
            name = f"damping_{damping}"
            analyzer.compute_pairwise_scores(
                name,
                "ekfac",
                test_set,
                train_set,
                per_device_query_batch_size=len(test[1]),
                per_device_train_batch_size=BATCH,
                score_args=arguments.ScoreArguments(damping_factor=damping),
            )
            scores[damping] = analyzer.load_pairwise_scores(name)["all_modules"].numpy()
            score_seconds = score_seconds or time.process_time() - fitted
    return EkfacResult(scores, fitted - began, score_seconds)


def _kronfluence_task(labels: Labels) -> Any:
    """Its description of the task: cross-entropy, and the margin as what is measured."""
    library = importlib.import_module("kronfluence.task")

    class MarginTask(library.Task):  # type: ignore[name-defined, misc]
        def compute_train_loss(self, batch: Examples, model: nn.Module, sample: bool = False) -> Tensor:
            logits = model(batch[0])
            if not sample:
                return functional.cross_entropy(logits, batch[1], reduction="sum")
            probabilities = logits.detach().softmax(1)
            if labels == "drawn":
                drawn = torch.multinomial(probabilities, 1)[:, 0]
                return functional.cross_entropy(logits, drawn, reduction="sum")
            # Squared, the weights are n_classes p_y: the mean over n_classes copies is the expectation.
            weights = (probabilities.shape[1] * probabilities.gather(1, batch[1][:, None])[:, 0]).sqrt()
            return (weights * functional.cross_entropy(logits, batch[1], reduction="none")).sum()

        def compute_measurement(self, batch: Examples, model: nn.Module) -> Tensor:
            # Less the margin: its scores are products with gradients of the loss, so that helpful is positive.
            return -Classification().model_output(model(batch[0]), batch[1]).sum()

    return MarginTask()


@contextmanager
def _quiet() -> Iterator[None]:
    """Context in which the warnings of kronfluence and accelerate are not heard."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def spearman_by_test(left: Scores, right: Scores) -> NDArray[np.float64]:
    """Rank correlation of two score matrices over the train examples, for each test example: `[n_test]`."""
    ranks = [rankdata(scores, axis=1) for scores in (left, right)]
    centred = [each - each.mean(axis=1, keepdims=True) for each in ranks]
    norms = [np.sqrt((each**2).sum(axis=1)) for each in centred]
    return (centred[0] * centred[1]).sum(axis=1) / (norms[0] * norms[1])


def main() -> None:
    """Prints the comparison."""
    torch.set_num_threads(1)
    run = load_digits_cnn()
    results: dict[str, EkfacResult] = {}
    for labels, seeds in (("drawn", SEEDS), ("every", SEEDS[:1])):
        for seed in seeds:
            for name, function in LIBRARIES.items():
                results[f"{name}, {labels}, seed {seed}"] = _run(function, run, labels, seed)
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} thread; CPU seconds to fit and to score at one damping"
    )
    for name, result in results.items():
        total = result.fit_seconds + result.score_seconds
        print(f"  {name:28} fit {result.fit_seconds:6.2f}  score {result.score_seconds:6.2f}  both {total:6.2f}")
    for damping in DAMPINGS:
        print(f"damping {'a tenth of the mean eigenvalue' if damping is None else damping}")
        for name, result in results.items():
            print(f"  {name:28} LDS {lds(result.scores[damping], run.masks, run.margins[0]):.3f}")
        for one, other in PAIRS:
            found = spearman_by_test(results[one].scores[damping], results[other].scores[damping])
            print(f"  {one} and {other}: Spearman mean {found.mean():.4f}, least {found.min():.4f}")


LIBRARIES = {"ours": run_ours, "kronfluence": run_kronfluence}


def _run(function: Any, run: DigitsCnn, labels: Labels, seed: int) -> EkfacResult:
    train, test = (run.train_inputs, run.train_labels), (run.test_inputs, run.test_labels)
    return function(make_model(), run.checkpoints[0], train, test, DAMPINGS, labels, seed)


if __name__ == "__main__":
    if not is_available() or not is_installed():
        raise SystemExit(f"this needs the folder of digits_cnn.py and {INSTALL}")
    main()
