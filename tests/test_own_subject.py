"""Subjects from Python: forms of data, what a training function must not do, and runs without one."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import trak_core as tc
from trak_core.__main__ import cli
from trak_core.engine.budget import BuildRequest, Sizes
from trak_core.engine.measure_settings import LADDER, measure_within, models_of
from trak_core.errors import (
    CheckpointMismatchError,
    InvalidDataError,
    InvalidModelError,
    InvalidSettingError,
    LabelError,
    NeedNotMetError,
    NotInRunError,
    ShapeMismatchError,
    ShuffledDataError,
)
from trak_core.evidence.verification import verify
from trak_core.evidence.what_if import as_question
from trak_core.live.run import open_run
from trak_core.subjects.given_data import read_examples
from trak_core.tasks import find_task
from trak_core.training import LoopTrainer, StepLog, TrainingSettings, diverged
from trak_core.training.loop_trainer import IGNORES_SEED, NOT_REPRODUCIBLE, takes_log, try_loop
from trak_core.views.review import why_no_suspects

N_TRAIN, N_TEST, N_CLASSES = 60, 12, 3
GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(N_TRAIN + N_TEST, 5, generator=GENERATOR)
LABELS = INPUTS[:, :N_CLASSES].argmax(1)
TRAIN, TEST = (INPUTS[:N_TRAIN], LABELS[:N_TRAIN]), (INPUTS[N_TRAIN:], LABELS[N_TRAIN:])
SIZES: dict[str, Any] = {"n_checkpoints": 2, "n_subsets": 20, "n_seeds": 2, "progress": False}


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, N_CLASSES))


def train_model(indices: Any, seed: int) -> Any:
    torch.manual_seed(seed)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(10):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(TRAIN[0][indices]), TRAIN[1][indices]).backward()
        optimizer.step()
    return model


def a_subject(**more: Any) -> tc.Subject:
    given = {"name": "small", "train": TRAIN, "test": TEST, "make_model": make_model, "train_model": train_model}
    return tc.Subject(**{**given, **more})


# --- data ---------------------------------------------------------------------------------------------------------


def rows(dataset: TensorDataset) -> DataLoader:
    return DataLoader(dataset, batch_size=7)


@pytest.mark.parametrize(
    "form",
    [
        lambda inputs, labels: (inputs, labels),
        lambda inputs, labels: (inputs.double().numpy(), labels.numpy()),
        lambda inputs, labels: rows(TensorDataset(inputs, labels)),
        lambda inputs, labels: list(zip(inputs.split(9), labels.split(9), strict=True)),
    ],
    ids=["tensors", "arrays", "loader", "batches"],
)
def test_data_of_every_form_are_the_same_examples(form: Callable[..., Any]):
    dataset = a_subject(train=form(*TRAIN), test=form(*TEST)).dataset
    np.testing.assert_array_equal(dataset.train.inputs, TRAIN[0].numpy())
    np.testing.assert_array_equal(dataset.test.labels, TEST[1].numpy())
    assert dataset.train.inputs.dtype == np.float32 and dataset.class_names == ("0", "1", "2")
    assert dataset.train.texts is not None and len(dataset.train.texts) == N_TRAIN


def test_inputs_of_several_parts_keep_their_form():
    inputs, labels = TRAIN
    batches = zip(inputs.split(9), labels.split(9), strict=True)
    named = [{"a": part, "b": part[:, :2], "labels": some} for part, some in batches]
    batch = read_examples(named, "train")
    assert set(batch.inputs) == {"a", "b"} and torch.equal(batch.inputs["a"], inputs) and len(batch) == N_TRAIN
    placed = read_examples((inputs, inputs[:, 0].long(), labels), "train").inputs
    assert isinstance(placed, tuple) and placed[1].dtype == torch.int64 and torch.equal(placed[0], inputs)


def test_images_are_shown_as_pictures_and_what_was_given_is_shown_as_it_is():
    def of_images() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))

    images, labels = torch.rand(8, 3, 2, 2), torch.tensor([0, 1] * 4)
    given = {"train": (images, labels), "test": (images, labels), "make_model": of_images}
    made = a_subject(**given).dataset
    assert made.modality == "image" and made.train.thumbnails[0].startswith(b"\x89PNG")
    shown = a_subject(**given, texts=(list("abcdefgh"), list("ijklmnop")), class_names=["cat", "dog"]).dataset
    assert shown.modality == "text" and shown.test.texts == list("ijklmnop") and shown.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"train": None}, InvalidSettingError, "has no train; give train="),
        ({"name": 3}, InvalidSettingError, "name is a int"),
        ({"train": TRAIN[0]}, InvalidDataError, "train has no labels"),
        ({"train": DataLoader(TensorDataset(*TRAIN), shuffle=True)}, ShuffledDataError, "RandomSampler"),
        ({"train": (TRAIN[0], TRAIN[1] + 1)}, LabelError, "label 3 of example"),
        ({"test": (TEST[0][:, :4], TEST[1])}, ShapeMismatchError, "test inputs are float32 [4]"),
        ({"train": [(TRAIN[0][:5], TRAIN[1][:5]), (TRAIN[0][5:, :4], TRAIN[1][5:])]}, ShapeMismatchError, "one shape"),
        ({"class_names": ["a", "b"]}, InvalidSettingError, "2 names, 2 of them different, but the model has 3 outputs"),
        ({"texts": (["a"], ["b"])}, InvalidDataError, "texts hold 1 entries for 60 train examples"),
        ({"make_model": lambda: 3}, InvalidModelError, "make_model() returns a int"),
        ({"make_model": lambda: 1 / 0}, InvalidModelError, "make_model() fails with ZeroDivisionError"),
        ({"make_model": "net"}, InvalidSettingError, "make_model is a str"),
        (
            {"make_model": lambda: nn.Linear(9, 3)},
            InvalidModelError,
            "the model fails on 4 train examples, float32 [5]",
        ),
        ({"task": "guessing"}, InvalidSettingError, "task='guessing'"),
        ({"train_model": None}, InvalidSettingError, "neither checkpoints nor a way to train some"),
        ({"training": TrainingSettings(1, 5, 0.1, 0.9, 0.0)}, InvalidSettingError, "train_model or training, not both"),
        ({"checkpoints": [nn.Linear(5, 3)]}, CheckpointMismatchError, "checkpoint 0 does not fit"),
        ({"checkpoints": []}, InvalidSettingError, "give at least one"),
    ],
)
def test_what_cannot_be_used_is_refused_by_one_sentence(given, error, said):
    with pytest.raises(error) as refusal:
        a_subject(**given)
    assert said in str(refusal.value) and "\n" not in str(refusal.value)


# --- training functions -------------------------------------------------------------------------------------------


def returning(change: Callable[[Any, Any, int], Any]) -> Callable[..., Any]:
    """A training function whose result is changed."""
    return lambda indices, seed: change(train_model(indices, seed), indices, seed)


def fails(indices: Any, seed: int) -> Any:
    raise KeyError("epochs")


def of_another_width(indices: Any, seed: int) -> Any:
    torch.manual_seed(seed)
    width = 6 + seed % 5
    return nn.Sequential(nn.Linear(5, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, N_CLASSES))


def with_nan(model: nn.Module, *_: Any) -> nn.Module:
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    return model


def keeps_nothing(indices: Any, seed: int, log: StepLog) -> Any:
    return train_model(indices, seed)


BAD: list[tuple[Any, type[Exception], str]] = [
    (fails, InvalidModelError, "fails with KeyError: 'epochs'; fix that"),
    (returning(lambda *_: None), InvalidModelError, "returns nothing; it must return the trained weights"),
    (returning(lambda model, *_: model.state_dict), InvalidModelError, "returns a function (call it"),
    (returning(lambda *_: {"loss": 0.3}), InvalidModelError, "returns a dict whose 'loss' is a float"),
    (returning(lambda *_: nn.Linear(5, 3)), CheckpointMismatchError, "missing: 0.weight"),
    (of_another_width, CheckpointMismatchError, "the same for every seed and subset"),
    (returning(with_nan), InvalidModelError, "weights that are not finite; lower its learning rate"),
    (lambda indices, seed: train_model(np.arange(9), seed), InvalidModelError, "it ignores its indices"),
    (keeps_nothing, InvalidModelError, "takes a log and keeps nothing in it"),
]


@pytest.mark.parametrize(("function", "error", "said"), BAD)
def test_a_training_function_that_cannot_be_used_is_refused_before_anything_is_built(function, error, said, tmp_path):
    with pytest.raises(error) as refusal:
        tc.build(a_subject(train_model=function), runs_dir=tmp_path, **SIZES)
    assert said in str(refusal.value) and "\n" not in str(refusal.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (3, "train_model is a int"),
        (lambda: None, "cannot be called with indices and a seed"),
        (lambda a, b, c: a, "seed, log"),
    ],
)
def test_a_training_function_of_another_signature_is_refused(function, said):
    with pytest.raises(InvalidSettingError, match=said):
        takes_log(function)
    assert not takes_log(train_model) and takes_log(keeps_nothing)
    assert not takes_log(lambda indices, seed, epochs=3: None)


def test_a_loop_that_needs_more_examples_than_the_quick_look_has_is_tried_on_halves():
    n = 1200
    inputs = torch.randn(n, 5, generator=torch.Generator().manual_seed(1))
    asked: list[int] = []

    def in_full_batches(indices: Any, seed: int) -> Any:
        asked.append(len(indices))
        torch.manual_seed(seed)
        model = make_model()
        batches = torch.as_tensor(indices).split(500)
        for batch in [batch for batch in batches if len(batch) == 500]:  # as drop_last does
            model[0].weight.data += inputs[batch].mean()
        return model

    trial = try_loop(LoopTrainer(in_full_batches, make_model(), n), seed=0)
    assert asked == [256] * 3 + [600] * 4 and trial.notes == []
    asked.clear()
    try_loop(LoopTrainer(lambda indices, seed: train_model(indices % N_TRAIN, seed), make_model(), n), seed=0)


def test_random_numbers_follow_the_seed_whoever_draws_them_and_are_left_as_they_were():
    def without_a_thought(indices: Any, seed: int) -> Any:
        model = make_model()
        model[0].weight.data += float(np.random.rand()) + len(indices)  # noqa: NPY002 (as people do)
        return model

    trainer = LoopTrainer(without_a_thought, make_model(), N_TRAIN)
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    one, again, other = (trainer.train(np.arange(5), seed)["0.weight"] for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002


def test_models_carry_their_buffers_and_give_what_each_gives_alone():
    trainer = LoopTrainer(train_model, make_model(), N_TRAIN)
    masks = np.zeros((3, N_TRAIN), dtype=bool)
    masks[0, :20] = masks[1, 20:50] = masks[2] = True
    ensemble = trainer.train_subsets(masks, [4, 5, 6])
    outputs = ensemble.outputs(find_task("image_classification"), TEST[0])
    for i, (mask, seed) in enumerate(zip(masks, (4, 5, 6), strict=True)):
        alone = train_model(np.flatnonzero(mask), seed).eval()
        torch.testing.assert_close(outputs[i], alone(TEST[0]).detach())
        assert torch.equal(ensemble.state_dict(i)["1.running_mean"], alone[1].running_mean)
        assert int(ensemble.state_dict(i)["1.num_batches_tracked"]) == 10
    without = trainer.train_without([np.arange(20, N_TRAIN)], [4])
    assert torch.equal(without.state_dict(0)["0.weight"], ensemble.state_dict(0)["0.weight"])
    with_a_nan = LoopTrainer(returning(with_nan), make_model(), N_TRAIN).train_subsets(masks[:1], [1])
    assert diverged(with_a_nan).tolist() == [True] and not diverged(ensemble).any()


def test_what_a_loop_cannot_do_is_said():
    trainer = LoopTrainer(train_model, make_model(), N_TRAIN)
    with pytest.raises(NeedNotMetError, match="no example a weight of its own"):
        trainer.train_weighted(np.ones((1, N_TRAIN), dtype=np.float32), [0])
    with pytest.raises(NeedNotMetError, match="reads its labels itself"):
        trainer.with_labels(TRAIN[1])


# --- logs ---------------------------------------------------------------------------------------------------------


def test_a_log_gives_the_learning_rates_of_the_steps_between_its_states(tmp_path: Path):
    model, log = make_model(), StepLog(make_model())
    log.optimizer(momentum=0.5, weight_decay=0.1)
    log.keep(model, step=0, learning_rate=9.0)  # the start
    for step, rate in ((4, 0.5), (6, 0.25), (10, 0.1)):
        model[0].weight.data.fill_(step)
        log.keep(model.state_dict(), step=step, learning_rate=rate)
    log.save(tmp_path / "log.safetensors")
    for one in (log, StepLog.load(tmp_path / "log.safetensors", make_model())):
        assert [moment.step for moment in one.ends] == [4, 6, 10]
        assert [float(moment.parameters["0.weight"][0, 0]) for moment in one.ends] == [4, 6, 10]
        assert one.weight_decay == 0.1
        assert one.time(0, 4) == pytest.approx(2 * 4 * 0.5)
        assert one.time(4, 10) == pytest.approx(2 * (2 * 0.25 + 4 * 0.1))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda log: log.keep(make_model(), step=3, learning_rate=0.1), "more than the last time"),
        (lambda log: log.keep(make_model(), step=9, learning_rate=-1.0), "must be finite and 0 or more"),
        (lambda log: log.keep(nn.Linear(5, 3), step=9, learning_rate=0.1), "missing: 0.weight"),
        (lambda log: log.optimizer(momentum=1.0), "from 0 to below 1"),
        (lambda log: log.optimizer(weight_decay=-1.0), "must be 0 or more"),
    ],
)
def test_a_log_refuses_what_cannot_be(call, said):
    log = StepLog(make_model())
    log.keep(make_model(), step=3, learning_rate=0.1)
    with pytest.raises(ValueError, match=said):
        call(log)


# --- runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_subject_of_python_is_built_measured_and_found_again_in_its_process(tmp_path, monkeypatch):
    subject = a_subject()
    path = tc.build(subject, runs_dir=tmp_path, **SIZES)
    tc.measure(path, subject, minutes=0.02, methods=["trak", "grad_dot"], progress=False)
    with open_run(path) as run:
        assert np.isfinite(run.lds("grad_dot").mean) and [each for each in verify(run) if not each.ok] == []
        assert run.attribute(TEST[0][:2]).shape == (2, N_TRAIN)
        monkeypatch.setattr("trak_core.subjects.subject_file._remembered", {})
        with pytest.raises(NotInRunError, match="put the subject into a file"):
            tc.measure(path, progress=False)
    with pytest.raises(tc.TrakCoreError, match="another subject"):
        tc.measure(path, a_subject(train=(TRAIN[0] + 1, TRAIN[1])), progress=False)


def test_a_function_that_ignores_its_seed_is_told_of_and_has_no_ceiling(tmp_path):
    with pytest.warns(tc.AttributionWarning, match="same model for every seed"):
        path = tc.build(
            a_subject(train_model=lambda indices, seed: train_model(indices, 0)), runs_dir=tmp_path, **SIZES
        )
    with open_run(path) as run:
        made = run.info.provenance
        assert (made["n_seeds"], made["n_checkpoints"]) == (1, 1) and IGNORES_SEED in made["notes"]
        assert np.isnan(run.lds().noise_ceiling) and np.isfinite(run.lds().mean)


def test_a_function_that_follows_no_seed_is_told_of(tmp_path):
    noise = np.random.default_rng(0)
    with pytest.warns(tc.AttributionWarning, match="another model when it is called again with the same indices"):
        path = tc.build(
            a_subject(train_model=lambda indices, _: train_model(indices, int(noise.integers(1000)))),
            runs_dir=tmp_path,
            **SIZES,
        )
    with open_run(path) as run:
        assert NOT_REPRODUCIBLE in run.info.provenance["notes"] and run.info.provenance["n_seeds"] == 2


def test_an_attributor_without_time_for_evidence_gets_scores_and_can_go_on(tmp_path):
    with tc.Attributor(make_model(), progress=False).fit(TRAIN) as attributor:
        attributor.save(tmp_path / "saved", TRAIN, TEST)
        attributor.measure(tmp_path / "saved", train_model, minutes=0.001, methods=["trak"])
    with open_run(tmp_path / "saved") as run:
        assert not run.has_lds and np.isfinite(run.scores()).all()
        assert run.info.provenance["n_subsets"] == 0


def test_without_a_training_function_methods_give_scores_and_what_is_missing_is_said(tmp_path):
    subject = a_subject(train_model=None, checkpoints=[train_model(np.arange(N_TRAIN), seed) for seed in (1, 2)])
    path = tc.build(subject, runs_dir=tmp_path, progress=False)
    tc.measure(path, subject, methods=["trak", "influence_ekfac", "grad_dot"], progress=False)
    attributor = tc.Attributor(make_model(), checkpoints=list(subject.checkpoints), progress=False).fit(TRAIN)
    with open_run(path) as run:
        assert {"trak", "influence_ekfac", "grad_dot", "embedding"} <= set(run.info.methods)
        assert "its subject trains no models to judge labels by" in why_no_suspects(run)
        assert not run.has_lds and not run.will_have_lds and [each for each in verify(run) if not each.ok] == []
        np.testing.assert_allclose(run.scores("trak"), attributor.score(TEST), rtol=2e-3, atol=1e-5)
        with pytest.raises(NotInRunError, match="One function would add the evidence: train_model"):
            as_question(run, 0, [1])
    with pytest.raises(NeedNotMetError, match="models retrained on random halves"):
        tc.measure(path, methods=["datamodel_ridge"], progress=False)


@pytest.mark.slow
def test_the_built_in_trainer_trains_a_subject_with_settings(tmp_path):
    def plain() -> nn.Module:
        return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, N_CLASSES))

    settings = TrainingSettings(epochs=5, batch_size=10, learning_rate=0.1, momentum=0.9, weight_decay=0.01)
    subject = a_subject(train_model=None, training=settings, make_model=plain)
    path = tc.build(subject, runs_dir=tmp_path, **SIZES)
    tc.measure(path, methods=["magic"], minutes=0.01, progress=False)
    with open_run(path) as run:
        assert np.isfinite(run.lds("magic").mean)
    with pytest.raises(InvalidModelError, match="BatchNorm1d"):
        tc.build(a_subject(train_model=None, training=settings), "other", runs_dir=tmp_path, **SIZES)


@pytest.mark.slow
def test_a_saved_run_gets_evidence_from_the_attributor_that_saved_it(tmp_path, monkeypatch):
    monkeypatch.setattr("trak_core.engine.subject_build.sizes_within", lambda *_: Sizes(2, 20, 2))
    monkeypatch.setattr("trak_core.engine.saved_run.measure_within", lambda *_: LADDER[-1])
    models = [train_model(np.arange(N_TRAIN), seed) for seed in (1, 2)]

    def save() -> tc.Attributor:
        attributor = tc.Attributor(make_model(), checkpoints=models, progress=False).fit(TRAIN)
        attributor.save(tmp_path / "saved", TRAIN, TEST, class_names=["a", "b", "c"], title="Mine")
        return attributor

    attributor = save()
    with pytest.raises(InvalidSettingError, match="saved no run there"):
        attributor.measure(tmp_path / "elsewhere", train_model)
    attributor.measure(tmp_path / "saved", train_model, methods=["trak", "grad_dot"])
    with open_run(tmp_path / "saved") as run:
        assert run.info.title == "Mine" and run.info.class_names == ("a", "b", "c")
        assert np.isfinite(run.lds("trak").mean) and np.isfinite(run.lds("grad_dot").mean)
        assert run.info.n_checkpoints == 2 and [each for each in verify(run) if not each.ok] == []
        scores = run.scores("trak")
    save().measure(tmp_path / "saved", train_model, methods=["trak", "grad_dot"])  # the script once more
    with open_run(tmp_path / "saved") as run:
        assert np.array_equal(run.scores("trak"), scores)


# --- budgets ------------------------------------------------------------------------------------------------------


def test_a_budget_of_measuring_pays_for_as_many_models_as_fit():
    needed = [models_of(settings) for settings in LADDER]
    assert needed == sorted(needed, reverse=True) and needed[-1] == 0
    for settings, n_models in zip(LADDER, needed, strict=True):
        assert measure_within(2.0 * n_models / 0.6 + 1e-6, 2.0) == settings
    with pytest.raises(InvalidSettingError, match="minutes=-1"):
        BuildRequest(minutes=-1)


def test_minutes_are_turned_into_sizes_by_timing_a_training(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = tc.build(a_subject(), runs_dir=tmp_path, minutes=0.001, progress=False)
    with open_run(path) as run:
        assert run.info.n_checkpoints == 1 and not run.has_lds


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("raise RuntimeError('no data here')", "fails with RuntimeError: no data here"),
        ("import sys; sys.exit(1)", "fails with SystemExit"),
        ("x = 3", "defines no subject"),
        ("def subject(): return 3", "subject of bad.py is a int"),
        ("def subject(): raise OSError('disk')", "subject() of bad.py fails with OSError: disk"),
        ("def subject(n): return n", "subject() of bad.py fails with TypeError"),
        ("subject = 'mine'", "subject of bad.py is a str"),
        ("import trak_core as tc\nsubject = tc.Subject(name='x')", "has no train and no test and no make_model"),
        ("def broken(:", "fails with SyntaxError"),
    ],
)
def test_a_file_without_a_subject_is_refused_in_one_line(content, said, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    (tmp_path / "bad.py").write_text(content)
    done = CliRunner().invoke(cli, ["build", str(tmp_path / "bad.py")])
    assert done.exit_code == 2
    assert said in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_file_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    done = CliRunner().invoke(cli, ["build", str(tmp_path / "none.py")])
    assert done.exit_code == 2 and "there is no such Python file" in done.stderr
