"""Scores that other libraries really made: imported, they give the same lists as their own code."""

import copy
import functools
import importlib
import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import trak_core as tc
from tests.benchmarks.ekfac_kronfluence import is_installed as has_kronfluence
from trak_core.datasets import load_digits
from trak_core.evidence.verification import verify
from trak_core.modalities import RawData, RawSplit

N_TRAIN, N_TEST, K = 220, 30, 20
TORCH_WARNINGS = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)


@functools.cache
def digits() -> tuple[Tensor, Tensor, RawData]:
    """Inputs `[n, 64]` and labels of train examples, then test examples, and the same as a reader would give them."""
    data = load_digits()
    inputs = np.concatenate([data.train.inputs[:N_TRAIN], data.test.inputs[:N_TEST]])
    labels = np.concatenate([data.train.labels[:N_TRAIN], data.test.labels[:N_TEST]])
    low, high = inputs.min(), inputs.max()
    pixels = ((inputs - low) * (255 / (high - low))).astype(np.uint8).reshape(-1, 8, 8, 1)
    train, test = slice(None, N_TRAIN), slice(N_TRAIN, None)
    raw = RawData(
        "digits",
        "image",
        data.class_names,
        RawSplit(pixels[train], labels[train]),
        RawSplit(pixels[test], labels[test]),
    )
    return torch.from_numpy(inputs).flatten(1), torch.from_numpy(labels), raw


@functools.cache
def trained() -> nn.Module:
    """A small network that knows the train digits roughly."""
    inputs, labels, _ = digits()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 12), nn.GELU(), nn.Linear(12, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02, weight_decay=1e-3)
    for _ in range(40):
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs[:N_TRAIN]), labels[:N_TRAIN]).backward()
        optimizer.step()
    return model.eval()


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    is_label = functional.one_hot(labels, logits.shape[-1]).bool()
    return logits[is_label] - logits.masked_fill(is_label, -torch.inf).logsumexp(-1)


@pytest.fixture(autouse=True)
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    return tmp_path / "runs"


def check_same_lists(name: str, expected: NDArray[Any]) -> None:
    """The run has the scores `[n_test, n_train]` bit for bit, and both ends of each row as a full sort has them."""
    expected = expected.astype(np.float32)
    assert expected.shape == (N_TEST, N_TRAIN) and np.ptp(expected) > 0
    with tc.open_run(name) as run:
        assert np.array_equal(run.scores(), expected)
        for test_idx in range(N_TEST):
            row = expected[test_idx]
            first = np.argsort(-row, kind="stable")[:K].tolist()
            last = np.argsort(row, kind="stable")[:K].tolist()
            assert run.proponents(test_idx, K)["train_idx"].tolist() == first
            assert run.opponents(test_idx, K)["train_idx"].tolist() == last
            for side, of_sort in (("proponent", first), ("opponent", last)):
                stored = run.rows(
                    "SELECT train_idx FROM topk WHERE test_idx = ? AND side = ? AND rank <= ? ORDER BY rank",
                    [test_idx, side, K],
                )
                assert [train_idx for (train_idx,) in stored] == of_sort
        assert [check for check in verify(run) if not check.ok] == []


# --- traker -------------------------------------------------------------------------------------------------


def run_traker(folder: Path, use_half_precision: bool, finish: bool = True) -> Any:
    """The scores of traker as it gives them, `[n_train, n_test]`; they lie in the folder too."""
    library = importlib.import_module("trak.traker")
    library.tqdm = functools.partial(library.tqdm, disable=True)
    inputs, labels, _ = digits()
    model = copy.deepcopy(trained())
    traker = library.TRAKer(
        model=model,
        task="image_classification",
        train_set_size=N_TRAIN,
        save_dir=str(folder),
        device="cpu",
        proj_dim=128,  # below 101 it fails on a CPU
        lambda_reg=10.0,
        use_half_precision=use_half_precision,
        logging_level=logging.WARNING,
    )
    traker.load_checkpoint(model.state_dict(), model_id=0)
    traker.featurize(batch=(inputs[:N_TRAIN], labels[:N_TRAIN]), num_samples=N_TRAIN)
    traker.finalize_features()
    traker.start_scoring_checkpoint("digits", model.state_dict(), model_id=0, num_targets=N_TEST)
    traker.score(batch=(inputs[N_TRAIN:], labels[N_TRAIN:]), num_samples=N_TEST)
    return np.array(traker.finalize_scores("digits")) if finish else None


needs_traker = pytest.mark.skipif(
    importlib.util.find_spec("trak") is None, reason="traker is not installed: pip install traker==0.3.2"
)


@needs_traker
@TORCH_WARNINGS
@pytest.mark.parametrize("use_half_precision", [False, True])
def test_scores_of_traker_give_the_lists_of_traker(tmp_path, use_half_precision):
    given = run_traker(tmp_path / "saved", use_half_precision)
    imported = tc.import_scores(tmp_path / "saved", digits()[2], "traker")
    assert (imported.library, imported.method, imported.orientation) == ("traker", "traker", "train-by-test")
    assert imported.sign_check.verdict == "right"
    check_same_lists("traker", given.T)
    for path in (tmp_path / "saved" / "scores", tmp_path / "saved" / "scores" / "digits.mmap"):
        again = tc.import_scores(path, digits()[2], "traker")  # the same run: nothing is written anew
        assert again.orientation == "train-by-test"


@needs_traker
@TORCH_WARNINGS
def test_scores_that_traker_has_not_finished_are_refused(tmp_path, runs_dir):
    run_traker(tmp_path / "saved", use_half_precision=False, finish=False)
    for path in (tmp_path / "saved", tmp_path / "saved" / "scores" / "digits.mmap"):
        with pytest.raises(tc.TrakCoreError, match=r"experiment 'digits' are not finished; call finalize_scores"):
            tc.import_scores(path, digits()[2], "traker")
    assert not runs_dir.exists()


# --- kronfluence --------------------------------------------------------------------------------------------


def run_kronfluence(folder: Path) -> dict[str, Tensor]:
    """Its scores `[n_test, n_train]`, for the margin as what is measured and for its negative; the folder has both."""
    analyzer_library = importlib.import_module("kronfluence.analyzer")
    arguments = importlib.import_module("kronfluence.arguments")
    task_library = importlib.import_module("kronfluence.task")

    class Task(task_library.Task):  # type: ignore[name-defined, misc]
        sign = -1.0

        def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
            logits = model(batch[0])
            labels = torch.multinomial(logits.detach().softmax(1), 1)[:, 0] if sample else batch[1]
            return functional.cross_entropy(logits, labels, reduction="sum")

        def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
            return self.sign * margin(model(batch[0]), batch[1]).sum()

    inputs, labels, _ = digits()
    train, test = TensorDataset(inputs[:N_TRAIN], labels[:N_TRAIN]), TensorDataset(inputs[N_TRAIN:], labels[N_TRAIN:])
    torch.manual_seed(0)
    task = Task()
    analyzer = analyzer_library.Analyzer(
        "digits",
        analyzer_library.prepare_model(copy.deepcopy(trained()), task),
        task,
        cpu=True,
        log_level=logging.ERROR,
        disable_tqdm=True,
        output_dir=str(folder),
    )
    analyzer.fit_all_factors(
        "ekfac", train, per_device_batch_size=N_TRAIN, factor_args=arguments.FactorArguments(strategy="ekfac")
    )
    given = {}
    for name, task.sign in (("minus_margin", -1.0), ("margin", 1.0)):
        analyzer.compute_pairwise_scores(
            name,
            "ekfac",
            test,
            train,
            per_device_query_batch_size=N_TEST,
            per_device_train_batch_size=N_TRAIN,
            score_args=arguments.ScoreArguments(damping_factor=None),
        )
        given[name] = analyzer.load_pairwise_scores(name)["all_modules"]
    return given


@pytest.mark.skipif(
    not has_kronfluence(), reason="kronfluence is not installed: pip install --no-deps kronfluence==1.0.1"
)
@TORCH_WARNINGS
def test_scores_of_kronfluence_give_the_lists_of_kronfluence_and_their_sign_is_told(tmp_path, runs_dir):
    given = run_kronfluence(tmp_path)
    saved, raw = tmp_path / "digits", digits()[2]

    folder = saved / "scores_minus_margin"
    for path in (folder, folder / "pairwise_scores.safetensors"):
        imported = tc.import_scores(path, raw, "kronfluence")
        assert (imported.library, imported.orientation) == ("kronfluence", "test-by-train")
        assert imported.sign_check.verdict == "right"
    check_same_lists("kronfluence", given["minus_margin"].numpy())

    with pytest.raises(tc.TrakCoreError, match=r"more than one set of scores: 'margin', 'minus_margin'; .* --key"):
        tc.import_scores(saved, raw, "turned")
    with pytest.raises(tc.TrakCoreError, match="--sign reversed turns them round, --sign as-is keeps them"):
        tc.import_scores(saved, raw, "turned", key="margin")
    assert [run.name for run in runs_dir.iterdir()] == ["kronfluence"]
    imported = tc.import_scores(saved, raw, "turned", key="margin", sign="reversed")
    assert imported.is_reversed
    check_same_lists("turned", -given["margin"].numpy())


# --- dattri and captum --------------------------------------------------------------------------------------


def run_dattri() -> Tensor:
    """The scores of its TRAK, `[n_train, n_test]`."""
    library = importlib.import_module("dattri.algorithm.trak")
    library.tqdm = functools.partial(library.tqdm, disable=True)
    task_library = importlib.import_module("dattri.task")
    model = copy.deepcopy(trained())

    def logits_of_one(parameters: Any, example: Any) -> Tensor:
        return torch.func.functional_call(model, parameters, (example[0].unsqueeze(0),))

    def f(parameters: Any, example: Any) -> Tensor:
        logits = logits_of_one(parameters, example)[0]
        is_label = torch.arange(len(logits)) == example[1]
        return torch.where(is_label, logits, 0.0).sum() - torch.where(is_label, -torch.inf, logits).logsumexp(0)

    def p(parameters: Any, example: Any) -> Tensor:
        return torch.exp(-functional.cross_entropy(logits_of_one(parameters, example), example[1].unsqueeze(0)))

    inputs, labels, _ = digits()
    attributor = library.TRAKAttributor(
        task=task_library.AttributionTask(loss_func=f, model=model, checkpoints=[model.state_dict()]),
        correct_probability_func=p,
        projector_kwargs={"proj_dim": 64},
        device="cpu",
    )
    attributor.cache(DataLoader(TensorDataset(inputs[:N_TRAIN], labels[:N_TRAIN]), batch_size=N_TRAIN))
    return attributor.attribute(  # type: ignore[no-any-return]
        DataLoader(TensorDataset(inputs[N_TRAIN:], labels[N_TRAIN:]), batch_size=N_TEST)
    )


@pytest.mark.skipif(
    importlib.util.find_spec("dattri") is None, reason="dattri is not installed: pip install dattri==0.3.0"
)
@TORCH_WARNINGS
def test_scores_of_dattri_give_the_lists_of_dattri(tmp_path):
    given = run_dattri()
    save_file({"scores": given.detach().contiguous()}, tmp_path / "dattri.safetensors")
    torch.save(given.detach(), tmp_path / "dattri.pt")
    ways: dict[str, Callable[[], object]] = {
        "safetensors": lambda: tmp_path / "dattri.safetensors",
        "torch": lambda: tmp_path / "dattri.pt",
        "tensor": lambda: given,
    }
    for name, way in ways.items():
        imported = tc.import_scores(way(), digits()[2], name, library="dattri")
        assert (imported.method, imported.orientation) == ("dattri", "train-by-test")
        check_same_lists(name, given.detach().numpy().T)


@TORCH_WARNINGS
def test_scores_of_captum_give_the_lists_of_captum(tmp_path):
    captum = pytest.importorskip("captum.influence", reason="captum is not installed: pip install captum==0.9.0")
    inputs, labels, raw = digits()
    model = copy.deepcopy(trained())
    tracin = captum.TracInCPFast(
        model,
        model[-1],
        TensorDataset(inputs[:N_TRAIN], labels[:N_TRAIN]),
        [model.state_dict()],
        checkpoints_load_func=lambda to, state: to.load_state_dict(state) and 1.0,
        loss_fn=nn.CrossEntropyLoss(reduction="sum"),
        batch_size=N_TRAIN,
    )
    given = tracin.influence((inputs[N_TRAIN:], labels[N_TRAIN:]))
    torch.save(given.detach(), tmp_path / "captum.pt")
    imported = tc.import_scores(tmp_path / "captum.pt", raw, "captum", library="captum")
    assert imported.orientation == "test-by-train" and imported.sign_check.verdict == "right"
    check_same_lists("captum", given.detach().numpy())
