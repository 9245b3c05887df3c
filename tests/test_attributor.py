"""Scores of `Attributor` against dense solves and retraining in closed form, and what must not change them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import trak_core as tc
from tests.oracles import loop_gradients, primal_trak
from tests.subjects import N_CLASSES, N_TEST, N_TRAIN, TEST, TRAIN, make_attributor, make_checkpoints, make_net
from trak_core.engine import fitted as fitted_module
from trak_core.engine.featurizer import Featurizer
from trak_core.errors import InvalidSettingError, OutOfMemoryError
from trak_core.subjects.batches import read_data
from trak_core.tasks import Classification

# float64 leaves only rounding between two ways to sum the same numbers; float32 the 1e-4 that is promised.
TIGHT, SINGLE = 1e-9, 1e-4


def distance(left: np.ndarray, right: np.ndarray) -> float:
    """Largest difference relative to the largest number."""
    return float(np.abs(left - right).max() / np.abs(right).max())


def whole_gradients(state: dict[str, torch.Tensor], inputs: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    net = make_net().double()
    net.load_state_dict(state)
    names = [name for name, _ in net.named_parameters()]
    weights = {name: value.double() for name, value in net.eval().state_dict().items() if name in names}
    return loop_gradients(net, weights, inputs.double(), targets).numpy()


def dense_scores(n_checkpoints: int, ridge: float, targets: torch.Tensor) -> np.ndarray:
    """TRAK from one-example-at-a-time gradients and a dense solve over all parameters."""
    states = make_checkpoints(n_checkpoints)
    train = [whole_gradients(state, *TRAIN) for state in states]
    test = [whole_gradients(state, TEST[0], targets) for state in states]
    q = []
    for state in states:
        net = make_net()
        net.load_state_dict(state)
        with torch.no_grad():
            logits = net.double().eval()(TRAIN[0].double())
        q.append((1 - logits.softmax(1)[torch.arange(N_TRAIN), TRAIN[1]]).numpy())
    return primal_trak(train, test, np.mean(q, axis=0), ridge)


@pytest.mark.parametrize("n_checkpoints", [1, 3])
@pytest.mark.parametrize("ridge", [0.1, 3.0])
def test_exact_scores_equal_a_dense_solve_over_all_parameters(n_checkpoints, ridge):
    attributor = make_attributor(n_checkpoints, ridge=ridge).fit(TRAIN)
    assert attributor.plan.projection == "none"
    assert attributor.plan.gradients == "hooks"
    scores = attributor.score(TEST)
    assert scores.shape == (N_TEST, N_TRAIN)
    assert scores.dtype == np.float32
    assert distance(scores, dense_scores(n_checkpoints, ridge, TEST[1])) < 1e-6  # scores are rounded to float32


@pytest.mark.parametrize("proj_dim", [32, 64], ids=["kernel over dimensions", "kernel over examples"])
@pytest.mark.parametrize("projection", ["sjlt", "rademacher", "kronecker"])
def test_projected_scores_equal_a_dense_solve_over_their_features(projection, proj_dim):
    attributor = make_attributor(2, projection=projection, proj_dim=proj_dim, ridge=0.7).fit(TRAIN)
    fitted = attributor.fitted
    train = [fitted.store.rows(i, 0) for i in range(2)]
    block = next(read_data(TEST, "test").blocks(100))
    test = [fitted.features(i, fitted.maps[i], block, TEST[1]).rows.numpy() for i in range(2)]
    expected = primal_trak(train, test, fitted.q.numpy(), 0.7)
    assert distance(attributor.score(TEST), expected) < 1e-6


def test_scores_of_a_linear_model_are_the_change_of_its_prediction_when_an_example_joins():
    """Ridge regression can be retrained in closed form: sign, unit and scale of the scores hold against it.

    Without example i, the prediction for z changes by x_z (X^T X + l)^-1 x_i (y_i - f_i) / (1 - h_i); the score is
    that without the denominator (one Newton step).
    """
    generator = np.random.default_rng(0)
    inputs, targets, ridge = generator.normal(size=(N_TRAIN, 6)), generator.normal(size=N_TRAIN), 5.0
    queries = generator.normal(size=(N_TEST, 6))

    def solve(rows: np.ndarray) -> np.ndarray:
        gram = inputs[rows].T @ inputs[rows] + ridge * np.eye(6)
        return np.linalg.solve(gram, inputs[rows].T @ targets[rows])

    everybody = np.arange(N_TRAIN)
    model = nn.Linear(6, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(solve(everybody))[None])
    relative = ridge * N_TRAIN / (inputs**2).sum()
    attributor = tc.Attributor(model, "regression", precision="float64", ridge=relative, progress=False)
    scores = attributor.fit((inputs, targets)).score((queries, np.zeros(N_TEST)))
    inverse = np.linalg.inv(inputs.T @ inputs + ridge * np.eye(6))
    leverage = np.einsum("nd,de,ne->n", inputs, inverse, inputs)
    changes = np.stack([queries @ (solve(everybody) - solve(np.delete(everybody, i))) for i in everybody], axis=1)
    np.testing.assert_allclose(scores, changes * (1 - leverage), rtol=1e-5, atol=1e-8)


def test_a_custom_task_of_two_functions_gives_the_scores_of_the_task_that_it_repeats():
    plain = Classification()
    custom = tc.CustomTask(plain.model_output, plain.out_to_loss)
    assert distance(make_attributor(task=custom).fit(TRAIN).score(TEST), make_attributor().fit(TRAIN).score(TEST)) == 0


def test_any_class_can_be_asked_about():
    targets = (TEST[1] + 1) % N_CLASSES
    scores = make_attributor(2).fit(TRAIN).score(TEST, targets=targets)
    assert distance(scores, dense_scores(2, 3.0, targets)) < 1e-6


def test_without_labels_the_models_own_answer_is_asked_about():
    attributor = make_attributor(2).fit(TRAIN)
    probabilities = []
    for state in make_checkpoints(2):
        net = make_net()
        net.load_state_dict(state)
        with torch.no_grad():
            probabilities.append(net.double().eval()(TEST[0].double()).softmax(1))
    answers = torch.stack(probabilities).mean(0).argmax(1)
    np.testing.assert_array_equal(attributor.score(TEST[0]), attributor.score((TEST[0], answers)))


def test_self_influence_is_the_score_of_an_example_for_itself():
    for settings in ({}, {"proj_dim": 32}, {"proj_dim": 64}):
        attributor = make_attributor(2, **settings).fit(TRAIN)
        expected = attributor.score(TRAIN).diagonal()
        np.testing.assert_allclose(attributor.self_influence(), expected, rtol=1e-5)


def test_scores_follow_a_permutation_of_the_training_set():
    order = torch.randperm(N_TRAIN, generator=torch.Generator().manual_seed(3))
    for settings in ({}, {"proj_dim": 32}):
        straight = make_attributor(**settings).fit(TRAIN).score(TEST)
        permuted = make_attributor(**settings).fit((TRAIN[0][order], TRAIN[1][order])).score(TEST)
        np.testing.assert_allclose(permuted, straight[:, order], rtol=1e-5)


def test_another_ridge_needs_no_new_features(monkeypatch):
    attributor = make_attributor(2, proj_dim=32).fit(TRAIN)
    seen = []
    plain = Featurizer.features
    monkeypatch.setattr(Featurizer, "features", lambda *args: seen.append(args[-1]) or plain(*args))
    live = attributor.score(TEST, ridge=0.2)
    assert set(seen) == {"test"}
    np.testing.assert_array_equal(live, make_attributor(2, proj_dim=32, ridge=0.2).fit(TRAIN).score(TEST))


def test_a_threshold_draws_scores_towards_zero():
    attributor = make_attributor().fit(TRAIN)
    scores = attributor.score(TEST)
    threshold = float(np.median(np.abs(scores)))
    expected = np.sign(scores) * np.maximum(np.abs(scores) - threshold, 0)
    np.testing.assert_allclose(attributor.score(TEST, threshold=threshold), expected, atol=1e-9)


def test_proponents_and_opponents_are_the_ends_of_the_score_rows():
    attributor = make_attributor().fit(TRAIN)
    scores = attributor.score(TEST)
    for table, sign in ((attributor.proponents(TEST, 5), -1), (attributor.opponents(TEST, 5), 1)):
        expected = np.argsort(sign * scores, axis=1, kind="stable")[:, :5]
        np.testing.assert_array_equal(table["train_idx"].to_numpy().reshape(-1, 5), expected)
        np.testing.assert_array_equal(table["score"], np.take_along_axis(scores, expected, 1).reshape(-1))
        assert table["rank"].tolist() == [1, 2, 3, 4, 5] * N_TEST


# --- what must not change scores ------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", TIGHT), ("float32", SINGLE)])
@pytest.mark.parametrize("proj_dim", [None, 32])
def test_scores_do_not_depend_on_batches_blocks_ways_threads_or_memory(
    precision, tolerance, proj_dim, monkeypatch, tmp_path
):
    def scores(**settings) -> np.ndarray:
        fitted = make_attributor(2, precision=precision, proj_dim=proj_dim, **settings).fit(TRAIN)
        with fitted:
            return fitted.score(TEST)

    straight = scores()
    others = {f"batches of {n}": scores(batch_size=n) for n in (1, 5)}
    others |= {way: scores(gradients=way) for way in ("functional", "loop")}
    others["a file"] = scores(store=tmp_path / "store")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        others["one thread"] = scores()
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setattr(fitted_module, "BLOCK", 8)
    others["blocks of 8"] = scores()
    others["blocks of 8 in a file, little memory"] = scores(store=tmp_path / "blocks", memory_budget=2**24)
    monkeypatch.setattr("trak_core.projection.feature_maps.BUFFER_PARAMETERS", 50)
    others["parameters by 50"] = scores()
    assert {
        name: distance(each, straight) for name, each in others.items() if distance(each, straight) > tolerance
    } == {}


def test_every_form_of_data_gives_the_same_scores():
    inputs, labels = TRAIN
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=10)
    forms = {
        "numpy": (inputs.numpy(), labels.numpy()),
        "loader": loader,
        "list of batches": list(loader),
        "uneven batches": [(inputs[:1], labels[:1]), (inputs[1:30], labels[1:30]), (inputs[30:], labels[30:])],
        "dicts": [{"images": inputs, "labels": labels}],
        "dict": {"images": inputs, "labels": labels},
    }
    straight = make_attributor().fit(TRAIN).score(TEST)
    for name, form in forms.items():
        test = {"images": TEST[0], "labels": TEST[1]} if "dict" in name else TEST
        assert distance(make_attributor().fit(form).score(test), straight) < 1e-6, name


def test_a_generator_is_read_once_and_gives_the_same_scores():
    def batches():
        yield from DataLoader(TensorDataset(*TRAIN), batch_size=10)

    straight = make_attributor(1, projection="none").fit(TRAIN).score(TEST)
    attributor = make_attributor(1, projection="none").fit(batches())
    assert distance(attributor.score(batches_of_test()), straight) < 1e-6


def batches_of_test():
    yield from DataLoader(TensorDataset(*TEST), batch_size=4)


def test_checkpoints_may_be_dicts_files_or_modules(tmp_path):
    from safetensors.torch import save_file

    first, second, third = make_checkpoints(3)
    save_file(first, tmp_path / "first.safetensors")
    torch.save({"state_dict": second, "epoch": 3}, tmp_path / "second.pt")
    module = make_net()
    module.load_state_dict(third)
    mixed = tc.Attributor(
        make_net(),
        checkpoints=[tmp_path / "first.safetensors", str(tmp_path / "second.pt"), module],
        precision="float64",
        progress=False,
    )
    assert distance(mixed.fit(TRAIN).score(TEST), make_attributor(3).fit(TRAIN).score(TEST)) == 0


def test_the_same_seed_gives_the_same_projection_and_another_seed_another():
    scores = [make_attributor(proj_dim=32, seed=seed).fit(TRAIN).score(TEST) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert distance(scores[2], scores[0]) > 0.01


def test_only_selected_parameters_count():
    head = make_attributor(parameters="fc2.*").fit(TRAIN)
    assert sum(layer.size for layer in head.layers) == 25 * N_CLASSES + N_CLASSES
    names = [name for name, _ in make_net().named_parameters()]
    sizes = [value.numel() for _, value in make_net().named_parameters()]
    start = sum(sizes[: names.index("fc2.weight")])
    train, test = ([whole_gradients(s, *data)[:, start:] for s in make_checkpoints(2)] for data in (TRAIN, TEST))
    expected = primal_trak(train, test, head.fitted.q.numpy(), 3.0)
    assert distance(head.score(TEST), expected) < 1e-6


def test_scores_larger_than_the_budget_are_refused_but_can_be_had_in_blocks():
    attributor = make_attributor(1, memory_budget=2**24, proj_dim=32).fit(TRAIN)
    many = TEST[0].repeat(12_000, 1, 1, 1)
    with pytest.raises(OutOfMemoryError, match=r"132,000 test and 37 train examples take 20 MB, more than memory_bu"):
        attributor.score((many, TEST[1].repeat(12_000)))
    first = next(attributor.iter_scores((many, TEST[1].repeat(12_000))))
    assert distance(first[:N_TEST], attributor.score(TEST)) < 1e-6


# --- calibration ----------------------------------------------------------------------------------------


def test_calibration_finds_the_scale_of_outcomes_that_scores_predict():
    attributor = make_attributor().fit(TRAIN)
    masks = np.random.default_rng(0).uniform(size=(60, N_TRAIN)) < 0.5
    outcomes = 7.0 * masks @ attributor.score(TEST, ridge=0.5).T + 100
    found = attributor.calibrate(TEST, masks, outcomes)
    assert found.ridge == 0.5
    assert found.factor == pytest.approx(7.0, rel=1e-4)
    assert found.lds_by_ridge[0.5] == pytest.approx(1.0)
    plain = make_attributor(ridge=0.5).fit(TRAIN)
    np.testing.assert_allclose(attributor.score(TEST), found.factor * plain.score(TEST), rtol=1e-4, atol=1e-7)


def test_calibration_needs_masks_and_outcomes_that_fit():
    attributor = make_attributor().fit(TRAIN)
    with pytest.raises(tc.TrakCoreError, match=rf"masks \(9, 5\) .* do not fit {N_TRAIN} train examples; give masks"):
        attributor.calibrate(TEST, np.ones((9, 5), dtype=bool), np.zeros((9, N_TEST)))


def test_nothing_can_be_scored_before_fit():
    with pytest.raises(InvalidSettingError, match=r"call fit\(train\) first"):
        make_attributor().score(TEST)


# --- a GPU ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("settings", [{}, {"proj_dim": 32}, {"proj_dim": 32, "projection": "rademacher"}])
def test_a_gpu_gives_the_scores_of_the_cpu(settings):
    on_cpu = make_attributor(precision="float32", device="cpu", **settings).fit(TRAIN).score(TEST)
    on_gpu = make_attributor(precision="float32", device="cuda", **settings).fit(TRAIN).score(TEST)
    assert distance(on_gpu, on_cpu) < SINGLE
