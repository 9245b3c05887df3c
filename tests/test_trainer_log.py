"""The log that a callback of Hugging Face's Trainer keeps, against states that were copied by hand."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import trak_core as tc
from tests.language import padded, tiny_gpt2, tokenized, with_lora, word_tokenizer
from trak_core.errors import AttributionWarning, CheckpointMismatchError, InvalidSettingError, RunMismatchError
from trak_core.training.folder_log import FolderLog

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate", reason="a Trainer needs accelerate")
TRAIN, TEST = tokenized([5, 7, 3, 9, 10, 4, 6, 8]), tokenized([6, 4], seed=9)


class Copies(transformers.TrainerCallback):
    """Copies of the parameters and learning rates after every step."""

    def __init__(self) -> None:
        self.states: dict[int, dict[str, torch.Tensor]] = {}
        self.rates: list[float] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.states[state.global_step] = {name: value.detach().clone() for name, value in model.named_parameters()}


def trained(folder: Path, log: Any, model: nn.Module | None = None, resume: bool = False, **settings: Any):
    """A model after a training of 8 steps, and copies of its states."""
    usual = {"num_train_epochs": 2, "per_device_train_batch_size": 2, "learning_rate": 1e-2, "weight_decay": 0.01}
    quiet = {"disable_tqdm": True, "report_to": [], "use_cpu": True, "save_strategy": "no", "logging_strategy": "no"}
    args = transformers.TrainingArguments(str(folder), **{**usual, **quiet, **settings})
    model, copies = model or tiny_gpt2(), Copies()
    collate = transformers.DataCollatorForLanguageModeling(word_tokenizer(), mlm=False)
    rows = [{"input_ids": row["input_ids"]} for row in TRAIN]
    trainer = transformers.Trainer(model, args, collate, rows, callbacks=[log, copies])
    trainer.train(resume_from_checkpoint=resume or None)
    return model, copies


def test_states_lie_at_the_ends_of_equal_parts_with_the_mean_rate_of_their_steps(tmp_path):
    _, copies = trained(tmp_path / "out", tc.TrainerLog(tmp_path / "log", keep=3))
    log = FolderLog(tmp_path / "log", tiny_gpt2(5))
    assert [end.step for end in log.ends] == [3, 5, 8] and log.weight_decay == 0.01 and log.momentum == 0
    for end in log.ends:
        for name, value in copies.states[end.step].items():
            assert torch.equal(end.parameters[name], value)
    assert log.time(0, 8) == pytest.approx(sum(copies.rates)) and log.time(3, 5) == pytest.approx(
        sum(copies.rates[3:5])
    )
    assert len(log.ends[1:]) == 2 and log.ends[-1].step == 8


@pytest.mark.parametrize(
    ("keep", "settings", "steps"),
    [
        ("epoch", {}, [4, 8]),
        ("save", {"save_strategy": "steps", "save_steps": 3}, [3, 6, 8]),
        ("logging", {"logging_strategy": "steps", "logging_steps": 2}, [2, 4, 6, 8]),
    ],
)
def test_states_are_kept_when_it_is_said(keep, settings, steps, tmp_path):
    trained(tmp_path / "out", tc.TrainerLog(tmp_path / "log", keep), **settings)
    assert [end.step for end in FolderLog(tmp_path / "log", tiny_gpt2()).ends] == steps


@pytest.mark.parametrize("method", ["tracin", "source"])
@pytest.mark.parametrize("adapters", [False, True])
def test_methods_that_look_at_training_take_the_log(method, adapters, tmp_path):
    begun = with_lora(tiny_gpt2()) if adapters else tiny_gpt2()
    model, copies = trained(tmp_path / "out", tc.TrainerLog(tmp_path / "log", keep=3), begun)
    fresh = with_lora(tiny_gpt2()) if adapters else tiny_gpt2(3)
    given = {"task": "causal_lm", "method": method, "progress": False}
    found = tc.Attributor(fresh, training_logs=tmp_path / "log", **given).fit(TRAIN).score(TEST)
    by_hand = tc.StepLog(fresh)
    by_hand.optimizer(weight_decay=0.01)
    for start, stop in ((0, 3), (3, 5), (5, 8)):
        state = {**dict(fresh.named_parameters()), **copies.states[stop]}
        by_hand.keep(state, step=stop, learning_rate=float(np.mean(copies.rates[start:stop])))
    expected = tc.Attributor(model, training_logs=[by_hand], **given).fit(padded(TRAIN, 10)).score(padded(TEST, 10))
    assert np.abs(found).max() > 0 and np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    if adapters:
        kept = sum(path.stat().st_size for path in (tmp_path / "log").glob("*.safetensors"))
        assert kept < 3 * 0.6 * 4 * sum(value.numel() for value in model.parameters())


def test_a_training_that_goes_on_completes_its_log(tmp_path):
    whole, log = tmp_path / "whole", {"save_strategy": "steps", "save_steps": 3}
    trained(tmp_path / "a", tc.TrainerLog(whole, keep="save"), **log)
    trained(tmp_path / "b", tc.TrainerLog(tmp_path / "log", keep="save"), **log)
    assert (tmp_path / "b" / "checkpoint-6").is_dir()
    for path in (tmp_path / "b").glob("checkpoint-8"):
        path.rename(tmp_path / "later")
    trained(tmp_path / "b", tc.TrainerLog(tmp_path / "log", keep="save"), resume=True, **log)
    ends = [FolderLog(folder, tiny_gpt2()).ends for folder in (whole, tmp_path / "log")]
    assert [end.step for end in ends[1]] == [3, 6, 8]
    for one, other in zip(*ends, strict=True):
        assert all(torch.equal(value, other.parameters[name]) for name, value in one.parameters.items())


# --- what is refused -----------------------------------------------------------------------------------------


def test_a_log_is_never_written_over(tmp_path):
    trained(tmp_path / "out", tc.TrainerLog(tmp_path / "log", keep=1))
    with pytest.raises(InvalidSettingError, match="holds a training log already"):
        trained(tmp_path / "out", tc.TrainerLog(tmp_path / "log", keep=1))


def test_too_many_states_are_refused_before_the_first_step(tmp_path):
    for keep in (0, 65, True, "sometimes", 1.5):
        with pytest.raises(InvalidSettingError, match="keep="):
            tc.TrainerLog(tmp_path, keep)
    log = tc.TrainerLog(tmp_path / "log", keep="logging")
    model = tiny_gpt2()
    with pytest.raises(InvalidSettingError, match="would keep 80 states"):
        trained(tmp_path, log, model, num_train_epochs=20, logging_strategy="steps", logging_steps=1)
    assert all(torch.equal(value, tiny_gpt2().state_dict()[name]) for name, value in model.state_dict().items())


def test_another_model_than_the_trained_one_is_refused(tmp_path):
    trained(tmp_path / "out", tc.TrainerLog(tmp_path / "log", keep=1), with_lora(tiny_gpt2(0)))
    given = {"task": "causal_lm", "method": "tracin", "training_logs": tmp_path / "log", "progress": False}
    with pytest.raises(CheckpointMismatchError, match=r"at step 8 .*give the model that the training began from"):
        tc.Attributor(with_lora(tiny_gpt2(1)), **given)
    with pytest.raises(InvalidSettingError, match="method 'trak' looks at none"):
        tc.Attributor(with_lora(tiny_gpt2(0)), **{**given, "method": "trak"})
    with pytest.raises(RunMismatchError, match="holds no training log"):
        tc.Attributor(with_lora(tiny_gpt2(0)), **{**given, "training_logs": tmp_path / "out"})
    with pytest.raises(InvalidSettingError, match="training_logs hold a dict"):
        tc.Attributor(with_lora(tiny_gpt2(0)), **{**given, "training_logs": [{}]})
    next((tmp_path / "log").glob("*.safetensors")).unlink()
    with pytest.raises(RunMismatchError, match="lacks its state at step 8"):
        tc.Attributor(with_lora(tiny_gpt2(0)), **given)


def test_the_best_model_put_back_is_not_the_last_of_the_log(tmp_path):
    best = {"save_strategy": "epoch", "eval_strategy": "epoch", "load_best_model_at_end": True}
    args = transformers.TrainingArguments(
        str(tmp_path / "out"),
        disable_tqdm=True,
        report_to=[],
        use_cpu=True,
        num_train_epochs=2,
        logging_strategy="no",
        **best,
    )
    rows = [{"input_ids": row["input_ids"]} for row in TRAIN]
    collate = transformers.DataCollatorForLanguageModeling(word_tokenizer(), mlm=False)
    log = tc.TrainerLog(tmp_path / "log", keep=1)
    trainer = transformers.Trainer(tiny_gpt2(), args, collate, rows, eval_dataset=rows, callbacks=[log])
    with pytest.warns(AttributionWarning, match="the training log ends at step 2, but the Trainer has put back"):
        trainer.train()


def test_without_transformers_the_package_works_and_the_callback_says_what_to_install():
    check = (
        "import sys; sys.modules['transformers'] = None; sys.modules['peft'] = None\n"
        "import torch, trak_core as tc\n"
        "model = torch.nn.Linear(2, 2)\n"
        "tc.Attributor(model, progress=False).fit((torch.randn(5, 2), torch.arange(5) % 2))\n"
        "try: tc.TrainerLog('log')\n"
        "except tc.TrakCoreError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert "`pip install transformers`" in done.stdout, done.stderr


def test_a_training_of_adapters_is_attributed_by_its_output_folder(tmp_path):
    model, copies = trained(
        tmp_path / "out", tc.TrainerLog(tmp_path / "log"), with_lora(tiny_gpt2()), save_strategy="epoch"
    )
    assert sorted(path.name for path in (tmp_path / "out").glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-8"]
    fresh = with_lora(tiny_gpt2(), 5)
    found = tc.Attributor(fresh, "causal_lm", tmp_path / "out", progress=False).fit(TRAIN).score(TEST)
    states = [{**fresh.state_dict(), **copies.states[step]} for step in (4, 8)]
    expected = tc.Attributor(model, "causal_lm", states, progress=False).fit(TRAIN).score(TEST)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
