"""The run of `shared/reference_runs/digits_cnn`: real checkpoints, retrained ground truth and traker's scores.

Its README says how it was made. The folder lies beside the repository and may be missing: ask `is_available` first.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from trak_core.evidence.lds import lds_per_test, predicted_outcomes

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference_runs" / "digits_cnn"
N_CHECKPOINTS = 5
TRAKER_PROJ_DIMS = (512, 2048)


@dataclass(frozen=True)
class DigitsCnn:
    """The task, its ground truth and what others make of it.

    Attributes:
        train_inputs: float32 `[1437, 1, 8, 8]`, standardised.
        train_labels: int64 `[1437]`.
        test_inputs: float32 `[360, 1, 8, 8]`, standardised with the training images.
        test_labels: int64 `[360]`.
        checkpoints: five state dicts for `make_model`, each trained on all training images.
        masks: `[100, 1437]`, True where a subset holds a training image.
        margins: `[2, 100, 360]`, log(p / (1 - p)) of the test images after retraining with two seeds on each subset;
            NaN where a model of the second seed is missing.
        kernel_train_test: `[1437, 360]`, exact inner products of margin gradients for checkpoint 0.
        kernel_train_norm2: `[1437]`, squared norms of the training gradients for checkpoint 0.
        kernel_q: `[1437]`, 1 - p of the training images for checkpoint 0.
        traker_scores: scores `[360, 1437]` of traker 0.3.2 by (projection dimension, number of checkpoints).
    """

    train_inputs: Tensor
    train_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    checkpoints: list[dict[str, Tensor]]
    masks: NDArray[np.bool_]
    margins: NDArray[np.float64]
    kernel_train_test: NDArray[np.float32]
    kernel_train_norm2: NDArray[np.float32]
    kernel_q: NDArray[np.float32]
    traker_scores: dict[tuple[int, int], NDArray[np.float32]]


class _SmallCnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc1 = nn.Linear(512, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[batch, 10]` of images `[batch, 1, 8, 8]`."""
        maps = functional.relu(self.conv2(functional.relu(self.conv1(images))))
        pooled = functional.max_pool2d(maps, 2).flatten(1)
        return self.fc2(functional.relu(self.fc1(pooled)))


def make_model() -> nn.Module:
    """The CNN of the run (38,282 parameters) in evaluation mode, not trained: load a checkpoint into it."""
    return _SmallCnn().eval()


def is_available() -> bool:
    """Whether the reference run lies where it is looked for."""
    return (REFERENCE / "truth.npz").is_file()


def load_digits_cnn() -> DigitsCnn:
    """Reads the whole run."""
    from safetensors.torch import load_file
    from sklearn.datasets import load_digits

    with np.load(REFERENCE / "truth.npz") as truth:
        train_rows, test_rows = truth["train_rows"], truth["test_rows"]
        masks = np.unpackbits(truth["masks"], axis=1)[:, : len(train_rows)].astype(bool)
        margins = truth["margins"].astype(np.float64)
    with np.load(REFERENCE / "kernel_checkpoint_0.npz") as kernel:
        train_test, train_norm2, q = kernel["train_test"], kernel["train_norm2"], kernel["q"]
    traker_scores = {}
    for proj_dim in TRAKER_PROJ_DIMS:
        with np.load(REFERENCE / f"traker_k{proj_dim}.npz") as stored:
            traker_scores[proj_dim, 1] = np.ascontiguousarray(stored["one_checkpoint"].T)
            traker_scores[proj_dim, N_CHECKPOINTS] = np.ascontiguousarray(stored["five_checkpoints"].T)
    digits = load_digits()
    images = (digits.images / 16)[:, None].astype(np.float32)
    images = (images - images[train_rows].mean()) / images[train_rows].std()
    labels = digits.target.astype(np.int64)
    return DigitsCnn(
        train_inputs=torch.from_numpy(images[train_rows]),
        train_labels=torch.from_numpy(labels[train_rows]),
        test_inputs=torch.from_numpy(images[test_rows]),
        test_labels=torch.from_numpy(labels[test_rows]),
        checkpoints=[load_file(REFERENCE / f"checkpoint_{i}.safetensors") for i in range(N_CHECKPOINTS)],
        masks=masks,
        margins=margins,
        kernel_train_test=train_test,
        kernel_train_norm2=train_norm2,
        kernel_q=q,
        traker_scores=traker_scores,
    )


def lds(scores: NDArray[np.float32], masks: NDArray[np.bool_], margins: NDArray[np.float64]) -> float:
    """Mean over the test examples of the LDS; test examples whose LDS is undefined are left out.

    Args:
        scores: `[n_test, n_train]`.
        masks: `[n_subsets, n_train]`.
        margins: `[n_subsets, n_test]` of the retrained models, without NaN.
    """
    return float(np.nanmean(lds_per_test(predicted_outcomes(scores, masks), margins)))
