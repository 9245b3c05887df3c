"""What `Attributor` says of bad input, and that nothing computed is lost: each message names the values in it."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import trak_core as tc
from tests.subjects import N_TRAIN, TEST, TRAIN, SmallNet, make_attributor, make_checkpoints, make_examples, make_net
from trak_core.engine import fitted as fitted_module
from trak_core.engine.featurizer import Featurizer
from trak_core.errors import (
    AttributionWarning,
    CheckpointMismatchError,
    EmptyDataError,
    HalfPrecisionOverflowError,
    InvalidDataError,
    InvalidModelError,
    InvalidSettingError,
    LabelError,
    NoLogitsError,
    NonFiniteGradientError,
    OutOfMemoryError,
    RunMismatchError,
    ShapeMismatchError,
    ShuffledDataError,
    SingularKernelError,
    StorageError,
    StoreDamagedError,
)
from trak_core.gradients import GradientComputer
from trak_core.store.files import RunFiles


def with_value(value: float, place: int = 5) -> tuple[Tensor, Tensor]:
    inputs = TRAIN[0].clone()
    inputs[place] = value
    return inputs, TRAIN[1]


# --- numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_input_that_is_not_finite_is_named_by_its_number(value):
    with pytest.raises(NonFiniteGradientError, match="outputs for train example 5 are not finite"):
        make_attributor().fit(with_value(value))


def test_a_gradient_that_is_not_finite_is_named_by_example_and_layer():
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 3, bias=False)
            self.last = nn.Linear(3, 2)

        def forward(self, rows: Tensor) -> Tensor:
            return self.last(self.first(rows).abs().sqrt())

    inputs = torch.rand(9, 3, generator=torch.Generator().manual_seed(0)) + 0.1
    inputs[7] = 0
    attributor = tc.Attributor(Root(), progress=False)
    with pytest.raises(
        NonFiniteGradientError, match=r"gradient of train example 7 is not finite in layer 'first' \(9 of"
    ):
        attributor.fit((inputs, torch.tensor([0, 1, 0, 1, 0, 1, 0, 1, 0])))


def test_half_precision_that_overflows_says_so():
    inputs = TRAIN[0] * 1e6
    attributor = make_attributor(precision="float16")
    with pytest.raises(HalfPrecisionOverflowError, match=r"train example 0 .*precision='float32' has room"):
        attributor.fit((inputs, TRAIN[1]))
    assert make_attributor(precision="float32").fit((inputs, TRAIN[1])).score(TEST).shape[1] == N_TRAIN


def test_mixed_precision_gives_nearly_the_scores_of_full_precision():
    full = make_attributor(precision="float32").fit(TRAIN).score(TEST)
    mixed = make_attributor(precision="bfloat16").fit(TRAIN).score(TEST)
    assert np.corrcoef(full.reshape(-1), mixed.reshape(-1))[0, 1] > 0.98


# --- examples -------------------------------------------------------------------------------------------


def test_a_label_out_of_range_is_named_with_its_example():
    labels = TRAIN[1].clone()
    labels[30] = 4
    with pytest.raises(LabelError, match="label 4 of example 30 is out of range: the model returns 4 logits"):
        make_attributor().fit((TRAIN[0], labels))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (TRAIN[1].float(), r"torch.float\d+ .*whole number"),
        (TRAIN[1][:9], r"37 inputs and labels of shape \(9,\)"),
        (None, "train has no labels"),
    ],
    ids=["floats", "too few", "none"],
)
def test_labels_of_the_wrong_kind_are_refused(labels, message):
    with pytest.raises(InvalidDataError, match=message):
        make_attributor().fit((TRAIN[0], labels))


@pytest.mark.parametrize(
    "train", [(TRAIN[0][:0], TRAIN[1][:0]), [], DataLoader(TensorDataset(TRAIN[0][:0], TRAIN[1][:0]))]
)
def test_no_examples_are_refused(train):
    with pytest.raises(EmptyDataError, match="train holds no examples"):
        make_attributor().fit(train)


def test_what_is_no_data_is_refused():
    with pytest.raises(InvalidDataError, match="train is a int; give a DataLoader"):
        make_attributor().fit(3)
    with pytest.raises(InvalidDataError, match="a train batch is a str"):
        make_attributor().fit(["cat"])


def test_a_shuffling_loader_is_refused_before_anything_is_computed():
    loader = DataLoader(TensorDataset(*TRAIN), batch_size=8, shuffle=True)
    with pytest.raises(ShuffledDataError, match=r"loader draws its examples by a RandomSampler, .*shuffle=False"):
        make_attributor().fit(loader)


class Restless:
    """Batches in another order on every pass, from the second batch on; or changed ones."""

    def __init__(self, augments: bool) -> None:
        self.augments = augments
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        batches = list(DataLoader(TensorDataset(*TRAIN), batch_size=8))
        if self.augments:
            return iter([(inputs + self.passes, labels) for inputs, labels in batches])
        return iter([batches[0], *(batches[2:] + batches[1:2] if self.passes % 2 else batches[1:])])


@pytest.mark.parametrize(
    ("augments", "message"), [(True, "first batch is another one"), (False, "examples 0 to 36 differ between two")]
)
def test_an_order_that_changes_between_passes_is_noticed(augments, message):
    with pytest.raises(ShuffledDataError, match=message):
        make_attributor(2).fit(Restless(augments))


def test_a_generator_cannot_serve_two_checkpoints():
    with pytest.raises(InvalidDataError, match=r"read once only \(a generator\), but there are 2 checkpoints"):
        make_attributor(2).fit(batch for batch in [TRAIN])


@pytest.mark.parametrize(
    "test", [torch.zeros(3, 1, 8, 8), torch.zeros(3, 1, 6, 6, dtype=torch.int64), {"images": torch.zeros(3, 1, 6, 6)}]
)
def test_test_examples_of_another_kind_are_refused(test):
    with pytest.raises(ShapeMismatchError, match=r"test inputs are .*but train inputs were .*\[1, 6, 6\]"):
        make_attributor().fit(TRAIN).score(test)


# --- models and weights ---------------------------------------------------------------------------------


def test_weights_that_do_not_fit_the_model_are_named():
    state = make_net().state_dict()
    state["fc3.weight"] = state.pop("fc2.weight")
    state["fc1.bias"] = torch.zeros(7)
    message = r"checkpoint 1 does not fit .*missing: fc2.weight .*; unexpected: fc3.weight .*; .*fc1.bias is "
    with pytest.raises(CheckpointMismatchError, match=message):
        tc.Attributor(make_net(), checkpoints=[make_net().state_dict(), state])


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module._orig_mod.", "net.encoder."])
def test_weights_under_the_names_of_a_wrapper_are_those_of_the_model(prefix):
    state = make_net().state_dict()
    wrapped = {f"{prefix}{name}": value for name, value in state.items()}
    scores = [
        tc.Attributor(make_net(), checkpoints=[each], progress=False).fit(TRAIN).score(TEST)
        for each in (state, wrapped)
    ]
    np.testing.assert_array_equal(*scores)


def test_files_that_could_run_code_are_never_unpickled(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(make_net(), path)
    with pytest.raises(CheckpointMismatchError, match=r"cannot be read as plain weights .*save model.state_dict\(\)"):
        tc.Attributor(make_net(), checkpoints=[path])


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pt", "weights.npz", "missing.pt"])
def test_files_that_hold_no_weights_are_refused(name, tmp_path):
    path = tmp_path / name
    if not name.startswith("missing"):
        path.write_bytes(b"no weights")
    with pytest.raises(tc.TrakCoreError, match=rf"checkpoint 0 \(.*{name}\)"):
        tc.Attributor(make_net(), checkpoints=[path])


def test_checkpoints_must_be_a_list_that_holds_something():
    with pytest.raises(InvalidSettingError, match=r"checkpoints=\[\]"):
        tc.Attributor(make_net(), checkpoints=[])
    with pytest.raises(InvalidSettingError, match="must be a list"):
        tc.Attributor(make_net(), checkpoints=make_net().state_dict())


def test_the_same_weights_twice_draw_a_warning():
    state = make_net().state_dict()
    with pytest.warns(AttributionWarning, match="checkpoints 0 and 1 hold the same weights"):
        tc.Attributor(make_net(), checkpoints=[state, state])


@pytest.mark.parametrize("returned", ["tuple", "one output", "whole numbers"])
def test_a_model_that_returns_no_logits_is_refused(returned):
    class Odd(SmallNet):
        def forward(self, images: Tensor):
            logits = super().forward(images)
            return {"tuple": (logits,), "one output": logits[:, :1], "whole numbers": logits.long()}[returned]

    with pytest.raises(NoLogitsError, match="logits"):
        tc.Attributor(Odd(), progress=False).fit(TRAIN)


def test_a_model_that_mixes_its_batch_is_refused():
    class Mixing(SmallNet):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images - images.mean(0))

    with pytest.raises(InvalidModelError, match="depends on the other examples of its batch"):
        tc.Attributor(Mixing(), progress=False).fit(TRAIN)


# --- settings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"proj_dim": 0}, "proj_dim=0; it must be a whole number from 1"),
        ({"proj_dim": 2.5}, "proj_dim=2.5"),
        ({"ridge": -1}, "ridge=-1"),
        ({"ridge": float("nan")}, "ridge=nan"),
        ({"projection": "magic"}, "projection='magic'; it must be one of auto, none, sjlt"),
        ({"projection": "none", "proj_dim": 9}, "proj_dim=9 with projection='none'"),
        ({"precision": "int8"}, "precision='int8'"),
        ({"memory_budget": 5}, "memory_budget=5"),
        ({"parameters": "fc9.*"}, "parameters='fc9\\.\\*' matches none of the 8"),
        ({"method": "magics"}, "there is no method 'magics'; there are: trak, "),
        ({"task": "poetry"}, "task='poetry'; there are image_classification"),
        ({"device": "tpu"}, "device='tpu'"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_what_can(settings, message):
    with pytest.raises(InvalidSettingError, match=message):
        make_attributor(**settings)


def test_no_ridge_with_as_many_dimensions_as_examples_is_refused():
    with pytest.raises(SingularKernelError, match=r"ridge=0 with proj_dim=64 and n_train=37: .*no inverse"):
        make_attributor(proj_dim=64, ridge=0.0).fit(TRAIN)


def test_hardly_any_ridge_with_nearly_as_many_dimensions_as_examples_draws_a_warning():
    with pytest.warns(AttributionWarning, match="ridge=0.001 with proj_dim=32 and n_train=37: .*mostly noise"):
        make_attributor(proj_dim=32, ridge=0.001).fit(TRAIN)


def test_hardly_any_ridge_with_single_precision_draws_a_warning():
    with pytest.warns(AttributionWarning, match=r"ridge=0\.001 with float32 inner products .*precision='float64'"):
        make_attributor(ridge=0.001, precision="float32").fit(TRAIN)


def test_dimensions_that_are_too_many_or_too_few_draw_a_warning():
    with pytest.warns(AttributionWarning, match="proj_dim=2000 is larger than the 577 parameters"):
        make_attributor(proj_dim=2000).fit(TRAIN)
    with pytest.warns(AttributionWarning, match="proj_dim=8: inner products .* 35% of their norms"):
        make_attributor(proj_dim=8).fit(TRAIN)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"projection": "none"}, "kernel of 1,500 train examples and its factor take 27 MB"),
        ({"proj_dim": 1400, "parameters": None}, "kernel of proj_dim=1,400 and its factor take 47 MB"),
    ],
    ids=["examples", "dimensions"],
)
def test_a_kernel_that_does_not_fit_is_refused_before_any_gradient_is_computed(settings, message, monkeypatch):
    computed = count_computed(monkeypatch)
    wide = nn.Sequential(nn.Flatten(), nn.Linear(36, 50), nn.Linear(50, 4))
    attributor = tc.Attributor(wide, progress=False, memory_budget=2**24, **settings)
    with pytest.raises(OutOfMemoryError, match=rf"{message}, more than memory_budget=16,777,216"):
        attributor.fit(make_examples(1500, 4))
    assert computed == []


# --- memory, interruptions, and stores of other things --------------------------------------------------


def test_when_memory_runs_out_the_batch_is_halved_and_the_scores_are_the_same(monkeypatch):
    straight = make_attributor(2, proj_dim=32).fit(TRAIN).score(TEST)
    plain, sizes = GradientComputer.compute, []

    def short_of_memory(self, weights, inputs, targets):
        if len(targets) > 4:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:120] DefaultCPUAllocator: can't allocate memory")
        sizes.append(len(targets))
        return plain(self, weights, inputs, targets)

    monkeypatch.setattr(GradientComputer, "compute", short_of_memory)
    scores = make_attributor(2, proj_dim=32).fit(TRAIN).score(TEST)
    np.testing.assert_allclose(scores, straight, rtol=1e-5)
    assert max(sizes) == 4


def test_when_not_one_example_fits_into_memory_the_error_says_so(monkeypatch):
    def no_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr(GradientComputer, "compute", no_memory)
    with pytest.raises(OutOfMemoryError, match=r"a single example does not fit .*parameters="):
        make_attributor().fit(TRAIN)


def count_computed(monkeypatch) -> list[int]:
    computed: list[int] = []
    plain = Featurizer.features

    def counted(self, weights, feature_map, block, targets, what):
        features = plain(self, weights, feature_map, block, targets, what)
        if what == "train":
            computed.append(block.start)
        return features

    monkeypatch.setattr(Featurizer, "features", counted)
    return computed


def test_an_interrupted_fit_goes_on_after_its_last_whole_block(monkeypatch, tmp_path):
    monkeypatch.setattr(fitted_module, "BLOCK", 8)
    straight = make_attributor(2, proj_dim=32).fit(TRAIN).score(TEST)
    with pytest.raises(NonFiniteGradientError, match="train example 20"):
        make_attributor(2, proj_dim=32, store=tmp_path).fit(with_value(float("nan"), place=20))
    computed = count_computed(monkeypatch)
    attributor = make_attributor(2, proj_dim=32, store=tmp_path).fit(TRAIN)
    assert computed == [16, 24, 32, 0, 8, 16, 24, 32]  # two blocks of the first checkpoint were there
    np.testing.assert_array_equal(attributor.score(TEST), straight)
    attributor.close()
    computed.clear()
    again = make_attributor(2, proj_dim=32, store=tmp_path).fit(TRAIN)
    assert computed == []
    np.testing.assert_array_equal(again.score(TEST), straight)
    again.close()


@pytest.mark.slow
def test_a_killed_fit_goes_on_and_gives_the_same_scores(tmp_path):
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from tests.subjects import TRAIN, make_attributor
        from trak_core.engine import fitted
        from trak_core.store.features import FileFeatures

        fitted.BLOCK = 8
        plain, left = FileFeatures.write, [int(sys.argv[2])]

        def write(self, checkpoint_id, block):
            plain(self, checkpoint_id, block)
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

        FileFeatures.write = write
        make_attributor(2, proj_dim=32, store=Path(sys.argv[1])).fit(TRAIN)
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    for written in (1, 4, 3):
        killed = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), str(written)], env=environment, check=False
        )
        assert killed.returncode == -signal.SIGKILL
    connection = duckdb.connect(str(RunFiles(tmp_path).features), read_only=True)
    assert connection.execute("SELECT count(*) FROM blocks").fetchall() == [(8,)]
    connection.close()
    fitted_module.BLOCK, block = 8, fitted_module.BLOCK
    try:
        with make_attributor(2, proj_dim=32, store=tmp_path).fit(TRAIN) as gone_on:
            np.testing.assert_array_equal(gone_on.score(TEST), make_attributor(2, proj_dim=32).fit(TRAIN).score(TEST))
    finally:
        fitted_module.BLOCK = block


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed was 0, now 1"),
        ({"proj_dim": 33}, "proj_dim was 32, now 33"),
        ({"precision": "float32"}, 'precision was "float64", now "float32"'),
        ({"parameters": "fc*"}, "parameters was"),
        ({"n_checkpoints": 2}, "checkpoints was"),
        ({"projection": "rademacher"}, 'projection was "sjlt", now "rademacher"'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_store_of_other_settings_or_weights_is_refused_and_stays_as_it_was(change, message, tmp_path):
    make_attributor(n_checkpoints=1, proj_dim=32, store=tmp_path).fit(TRAIN).close()
    before = RunFiles(tmp_path).features.read_bytes()
    with pytest.raises(RunMismatchError, match=message):
        make_attributor(**{"n_checkpoints": 1, "proj_dim": 32, "store": tmp_path, **change}).fit(TRAIN)
    assert RunFiles(tmp_path).features.read_bytes() == before


@pytest.mark.parametrize("change", ["inputs", "labels", "order", "more", "fewer"])
def test_a_store_of_other_examples_is_refused(change, monkeypatch, tmp_path):
    monkeypatch.setattr(fitted_module, "BLOCK", 8)
    make_attributor(1, store=tmp_path).fit(TRAIN).close()
    inputs, labels = (values.clone() for values in TRAIN)
    if change == "inputs":
        inputs[9, 0, 3, 3] += 1e-6
    if change == "labels":
        labels[9] = (labels[9] + 1) % 4
    if change == "order":
        inputs, labels = inputs.flip(0), labels.flip(0)
    if change == "more":
        inputs, labels = torch.cat([inputs, inputs]), torch.cat([labels, labels])
    if change == "fewer":
        inputs, labels = inputs[:24], labels[:24]
    with pytest.raises(RunMismatchError, match="examples"):
        make_attributor(1, store=tmp_path).fit((inputs, labels))


def test_a_file_that_is_no_store_is_refused_and_kept(tmp_path):
    RunFiles(tmp_path).features.write_bytes(b"something else" * 1000)
    with pytest.raises(StoreDamagedError, match=r"features\.duckdb is damaged"):
        make_attributor(store=tmp_path).fit(TRAIN)
    assert RunFiles(tmp_path).features.read_bytes() == b"something else" * 1000


def test_a_store_in_use_by_another_process_is_refused(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", f"import duckdb, time; c = duckdb.connect({str(RunFiles(tmp_path).features)!r}); "
         "print('open', flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(StorageError, match="in use by another process"):
            make_attributor(store=tmp_path).fit(TRAIN)
    finally:
        holder.kill()
        holder.communicate()


def test_the_label_of_one_checkpoint_is_not_read_for_another():
    first, second = make_checkpoints(2)
    alone = [tc.Attributor(make_net(), checkpoints=[s], precision="float64", progress=False) for s in (first, second)]
    q = [attributor.fit(TRAIN).fitted.store.column(0, "q") for attributor in alone]
    both = make_attributor(2).fit(TRAIN).fitted
    np.testing.assert_array_equal([both.store.column(i, "q") for i in range(2)], q)


@pytest.mark.parametrize(("width", "precision"), [(20_000, "float32"), (8_000, "float64")])
def test_wide_rows_go_through_a_store_with_little_memory(width, precision, tmp_path):
    generator = torch.Generator().manual_seed(0)
    train = torch.randn(300, width, generator=generator), torch.arange(300) % 2
    model = nn.Sequential(nn.Linear(width, 1, bias=False), nn.Linear(1, 2))
    settings = {"projection": "none", "precision": precision, "progress": False}
    with tc.Attributor(model, store=tmp_path, **settings).fit(train) as in_file:
        assert len(in_file.fitted.store.starts(0)) > 1
        in_memory = tc.Attributor(model, **settings).fit(train)
        np.testing.assert_allclose(in_file.score(train)[:5], in_memory.score(train)[:5], rtol=1e-5, atol=1e-9)


def test_a_batch_size_is_kept_to_for_arrays(monkeypatch):
    sizes: list[int] = []
    plain = GradientComputer.compute

    def counted(self, weights, inputs, targets):
        sizes.append(len(targets))
        return plain(self, weights, inputs, targets)

    monkeypatch.setattr(GradientComputer, "compute", counted)
    many = make_examples(300, 4)
    attributor = make_attributor(1, proj_dim=32, batch_size=150).fit(many)
    assert sizes == [150, 150]
    assert attributor.plan.batch_size == 150


# --- what callers do meanwhile ---------------------------------------------------------------------------


def test_training_on_after_the_attributor_was_made_changes_nothing():
    net = make_net()
    straight = tc.Attributor(make_net(), progress=False).fit(TRAIN).score(TEST)
    from_module, from_dict = (tc.Attributor(net, checkpoints=c, progress=False) for c in (None, [net.state_dict()]))
    from_module.fit(TRAIN)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
    np.testing.assert_array_equal(from_module.score(TEST), straight)
    np.testing.assert_array_equal(from_dict.fit(TRAIN).score(TEST), straight)


def test_a_checkpoint_file_that_changes_is_noticed(tmp_path):
    paths = [tmp_path / "first.pt", tmp_path / "second.pt"]
    for path, state in zip(paths, make_checkpoints(2), strict=True):
        torch.save(state, path)
    attributor = tc.Attributor(make_net(), checkpoints=paths, progress=False).fit(TRAIN)
    torch.save(make_checkpoints(3)[2], paths[0])
    with pytest.raises(CheckpointMismatchError, match=r"checkpoint 0 \(.*first.pt\) holds other weights than when"):
        attributor.score(TEST)


def test_the_callers_model_stays_as_it_was():
    net = make_net().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    tc.Attributor(net, progress=False).fit(TRAIN).score(TEST)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("way", ["hooks", "functional", "loop"])
@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradients_are_computed_even_where_the_caller_switched_them_off(way, off):
    straight = make_attributor(gradients=way).fit(TRAIN).score(TEST)
    with off():
        np.testing.assert_allclose(make_attributor(gradients=way).fit(TRAIN).score(TEST), straight, rtol=1e-6)


def test_shared_weights_may_be_saved_under_any_of_their_names():
    class Tied(SmallNet):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(25, 4)
            self.head.weight = self.fc2.weight

        def forward(self, images: Tensor) -> Tensor:
            return self.head(torch.tanh(self.fc1(images.flatten(1)[:, :16])))

    torch.manual_seed(0)
    state = Tied().state_dict()
    scores = []
    for left_out in ("none", "head.weight", "fc2.weight"):
        kept = {name: value for name, value in state.items() if name != left_out}
        scores.append(tc.Attributor(Tied(), checkpoints=[kept], progress=False).fit(TRAIN).score(TEST))
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])


def test_gradients_that_are_all_zero_are_refused():
    class Detached(SmallNet):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images).detach() + 0 * self.fc2.bias

    with pytest.raises(InvalidModelError, match="every gradient of checkpoint 0 is zero"):
        tc.Attributor(Detached(), progress=False).fit(TRAIN)


def test_targets_of_several_numbers_reach_a_custom_task():
    targets = torch.randn(N_TRAIN, 4, generator=torch.Generator().manual_seed(0))
    task = tc.CustomTask(lambda out, y: (out * y).sum(1), lambda out, y: y[:, 0])
    assert make_attributor(task=task).fit((TRAIN[0], targets)).score((TRAIN[0][:3], targets[:3])).shape == (3, N_TRAIN)
    with pytest.raises(LabelError, match=r"targets of shape \(3, 1\)|labels are .*of shape \(37, 1\)|shape \(3, 1\)"):
        make_attributor().fit((TRAIN[0], TRAIN[1][:, None]))


def test_a_custom_task_without_labels_has_to_be_told_what_to_ask():
    task = tc.CustomTask(lambda out, y: out[:, 0], lambda out, y: y - out[:, 0])
    attributor = make_attributor(task=task).fit((TRAIN[0], TRAIN[1].double()))
    with pytest.raises(InvalidDataError, match=r"give targets=\.\.\."):
        attributor.score(TEST[0])
    assert attributor.score(TEST[0], targets=TEST[1].double()).shape == (len(TEST[1]), N_TRAIN)


@pytest.mark.parametrize("n", [3, 20])
def test_asked_must_have_one_entry_for_each_test_example(n):
    with pytest.raises(InvalidSettingError, match=rf"targets holds {n} entries"):
        make_attributor().fit(TRAIN).score(iter([TEST]), targets=[1] * n)


@pytest.mark.parametrize("labels", [np.uint8, np.uint16, np.int32, bool, ">i8"])
def test_labels_of_any_whole_number_type_will_do(labels):
    two = TRAIN[1] % 2
    straight = make_attributor().fit((TRAIN[0], two)).score(TEST)
    np.testing.assert_array_equal(make_attributor().fit((TRAIN[0], two.numpy().astype(labels))).score(TEST), straight)
