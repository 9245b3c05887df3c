"""Groups of train examples: UnTrac against its steps written out, sums of scores, and retraining without each group."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

import trak_core as tc
from trak_core.engine.method_context import examples_of
from trak_core.engine.without_groups import leave_one_group_out
from trak_core.errors import InvalidSettingError, NeedNotMetError, TrainingDivergedError
from trak_core.evidence.group_truth import GroupTruth, rank_groups
from trak_core.methods import (
    Examples,
    Groups,
    MethodContext,
    ScoreMatrix,
    Unlearning,
    find_method,
    group_sums,
    untrac,
    untrac_inverse,
)
from trak_core.tasks import Classification, CustomTask, Regression

TASK = Classification()
N_TOPICS, A_TOPIC, N_WORDS = 6, 8, 30


def bags(n_each: int, seed: int) -> tuple[Tensor, Tensor, list[str]]:
    """Bags of words of some documents: each has words of its own, and two documents speak of each label."""
    random = np.random.default_rng(seed)
    words = np.zeros((N_TOPICS * n_each, N_WORDS), dtype=np.float32)
    documents = np.repeat(np.arange(N_TOPICS), n_each)
    for row, document in zip(words, documents, strict=True):
        row[5 * document + random.choice(5, 2, replace=False)] = 1
        row[random.integers(N_WORDS)] += 0.5
    return torch.from_numpy(words), torch.from_numpy(documents // 2), [f"document {each}" for each in documents]


TRAIN, TEST = bags(A_TOPIC, 0), bags(3, 1)
GROUPS = Groups.of_names(TRAIN[2])


def make_model() -> nn.Module:
    return nn.Linear(N_WORDS, N_TOPICS // 2)


@pytest.fixture(scope="module")
def subject() -> tc.Subject:
    settings = tc.TrainingSettings(epochs=30, batch_size=16, learning_rate=0.5, momentum=0.9, weight_decay=0.01)
    return tc.Subject(
        "documents", TRAIN[:2], TEST[:2], make_model=make_model, training=settings, class_names=["a", "b", "c"]
    )


@pytest.fixture(scope="module")
def context(subject: tc.Subject) -> MethodContext:
    trained = subject.trainer("cpu").train_checkpoints([0, 1, 2], 0).ensemble
    states = [trained.state_dict(index) for index in range(3)]
    sides = [examples_of(split, "cpu") for split in (subject.dataset.train, subject.dataset.test)]
    return MethodContext(subject.task, trained.architecture, states, *sides)


@pytest.fixture(scope="module")
def truth(subject: tc.Subject) -> GroupTruth:
    return leave_one_group_out(subject, GROUPS, seeds=[0, 1])


def test_the_guide_to_groups_runs(subject: tc.Subject, capsys: pytest.CaptureFixture[str]):
    guide = (Path(__file__).resolve().parents[1] / "docs" / "methods.md").read_text()
    code = re.search(r"## Groups: .*?```python\n(.*?)```", guide, re.DOTALL)
    exec(code[1], {"subject": subject, "names": TRAIN[2]})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(float(line.split()[0]) > 0.6 for line in lines)


# --- groups --------------------------------------------------------------------------------------------------------


def test_groups_come_by_their_names_in_the_order_in_which_these_come_first():
    groups = Groups.of_names(["b", "a", "b", "c"])
    assert groups.names == ("b", "a", "c") and groups.of.tolist() == [0, 1, 0, 2]
    assert [groups.members(group).tolist() for group in range(len(groups))] == [[0, 2], [1], [3]]
    assert groups.sums(torch.tensor([[1.0, 2, 3, 4], [0, 1, 0, 1]])).tolist() == [[4, 2, 4], [0, 1, 1]]


@pytest.mark.parametrize(
    ("of", "said"), [([0, 3], "in group 3, and there are 2 groups"), ([-1, 0], "in group -1"), ([0, 0], "'b' has no")]
)
def test_groups_that_cannot_be_are_refused(of: list[int], said: str):
    with pytest.raises(InvalidSettingError, match=said):
        Groups(np.array(of), ("a", "b"))


def test_scores_of_a_group_are_those_of_its_members_together(context: MethodContext):
    scores = find_method("trak").fit(context)
    masks = torch.from_numpy(GROUPS.of[None] == np.arange(len(GROUPS))[:, None])
    torch.testing.assert_close(group_sums(scores, GROUPS), scores.predict(masks).T)
    with pytest.raises(InvalidSettingError, match="groups hold 48 examples, and there are 2 train examples"):
        group_sums(ScoreMatrix(torch.ones(1, 2)), GROUPS)


# --- UnTrac --------------------------------------------------------------------------------------------------------


def climbed(weights: dict[str, Tensor], batches: list[tuple[Tensor, Tensor]], rate: float) -> dict[str, Tensor]:
    """Weights after steps of Adam up the mean loss of each batch, written out."""
    weights = {name: value.clone() for name, value in weights.items()}
    first, second = ({name: torch.zeros_like(value) for name, value in weights.items()} for _ in range(2))
    for step, (inputs, labels) in enumerate(batches, start=1):
        off = (inputs @ weights["weight"].T + weights["bias"]).softmax(1) - nn.functional.one_hot(labels, 3)
        gradients = {"weight": off.T @ inputs / len(inputs), "bias": off.mean(0)}
        for name, gradient in gradients.items():
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient**2
            direction = first[name] / (1 - 0.9**step) / ((second[name] / (1 - 0.999**step)).sqrt() + 1e-8)
            weights[name] += rate * direction
    return weights


def losses(weights: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
    logits = inputs @ weights["weight"].T + weights["bias"]
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def tiny_context(n_checkpoints: int = 2) -> MethodContext:
    torch.manual_seed(3)
    models = [nn.Linear(4, 3).double() for _ in range(n_checkpoints)]
    inputs, labels = torch.randn(9, 4, dtype=torch.float64), torch.arange(9) % 3
    sides = [Examples(inputs[part], labels[part]) for part in (slice(6), slice(6, None))]
    return MethodContext(TASK, models[0], [dict(model.state_dict()) for model in models], *sides)


def test_untrac_is_the_rise_of_the_test_loss_after_steps_up_the_loss_of_a_group():
    context, groups, how = tiny_context(), Groups.of_names(list("abcaab")), Unlearning(0.02, batch_size=3, epochs=2)
    expected = []
    for weights in context.states:
        columns = []
        for group in range(3):
            # A group of one batch: any order is the same.
            batch = tuple(part[groups.members(group)] for part in (context.train.inputs, context.train.targets))
            after = climbed(weights, [batch] * 2, 0.02)
            test = context.test.inputs, context.test.targets
            columns.append(losses(after, *test) - losses(weights, *test))
        expected.append(torch.stack(columns, dim=1))
    torch.testing.assert_close(untrac(context, groups, how), torch.stack(expected).mean(0))


def test_untrac_inverse_is_the_rise_of_the_losses_of_a_group_after_steps_up_the_test_loss():
    context, groups, how = tiny_context(1), Groups.of_names(list("abcaab")), Unlearning(0.02, batch_size=8, epochs=3)
    train, rows = (context.train.inputs, context.train.targets), []
    for questions in ([0], [1], [2], [0, 1, 2]):
        batch = (context.test.inputs[questions], context.test.targets[questions])
        after = climbed(context.states[0], [batch] * 3, 0.02)
        rise = losses(after, *train) - losses(context.states[0], *train)
        rows.append(torch.stack([rise[groups.members(group)].sum() for group in range(3)]))
    torch.testing.assert_close(untrac_inverse(context, groups, how), torch.stack(rows[:3]))
    together = untrac_inverse(context, groups, how, questions=Groups.of_names(["all"] * 3))
    torch.testing.assert_close(together, rows[3][None])


def test_checkpoints_stay_as_they_are_and_a_second_time_gives_the_same():
    context, groups = tiny_context(), Groups.of_names(list("abcaab"))
    before = [{name: value.clone() for name, value in state.items()} for state in context.states]
    found = untrac(context, groups, Unlearning(0.1, epochs=3))
    assert torch.equal(untrac(context, groups, Unlearning(0.1, epochs=3)), found)
    for state, kept in zip(context.states, before, strict=True):
        assert all(torch.equal(state[name], value) for name, value in kept.items())


@pytest.mark.parametrize("method", [untrac, untrac_inverse])
def test_a_group_that_holds_the_test_example_itself_helps_it_most(context: MethodContext, method):
    how = Unlearning(0.01, batch_size=4, epochs=2)
    test = Examples(context.train.inputs[::A_TOPIC], context.train.targets[::A_TOPIC])
    asked = MethodContext(context.task, context.architecture, context.states, context.train, test)
    assert method(asked, GROUPS, how).argmax(1).tolist() == list(range(N_TOPICS))


def test_unlearning_that_leads_nowhere_is_an_error_and_so_are_settings_and_groups_that_cannot_be():
    context, groups = tiny_context(), Groups.of_names(list("abcaab"))
    with pytest.raises(TrainingDivergedError, match=r"unlearning group 'a' .* lower rate than learning_rate=1e"):
        untrac(context, groups, Unlearning(1e308, epochs=4))
    with pytest.raises(InvalidSettingError, match="learning_rate=0, batch_size=1"):
        Unlearning(learning_rate=0)
    with pytest.raises(InvalidSettingError, match="groups hold 48 examples"):
        untrac_inverse(context, GROUPS)
    silent = MethodContext(CustomTask(lambda z, y: z[:, 0], lambda z, y: z[:, 1]), context.architecture,
                           context.states, context.train, context.test)  # fmt: skip
    with pytest.raises(NeedNotMetError, match="'untrac' needs a task that tells its loss"):
        untrac(silent, groups)


def test_regression_is_unlearnt_too():
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    sides = Examples(torch.eye(2), torch.tensor([1.0, -1.0])), Examples(torch.eye(2), torch.tensor([1.0, -1.0]))
    context = MethodContext(Regression(), model, [dict(model.state_dict())], *sides)
    found = untrac(context, Groups.of_names(["left", "right"]), Unlearning(0.1))
    assert (found.diagonal() > 0).all()


# --- the truth -----------------------------------------------------------------------------------------------------


def test_the_truth_is_the_fall_without_a_group_seed_by_seed(subject: tc.Subject, truth: GroupTruth):
    trainer, test = subject.trainer("cpu"), examples_of(subject.dataset.test, "cpu")
    assert truth.without.shape == (N_TOPICS, 2, 3 * N_TOPICS)
    for number, seed in enumerate((0, 1)):
        removed = [np.empty(0, dtype=np.int64), GROUPS.members(4)]
        models = trainer.train_without(removed, [seed] * 2)
        outputs = models.of_each("model_output", TASK, models.outputs(TASK, test.inputs), test.targets)
        np.testing.assert_allclose(truth.falls[4, number], (outputs[0] - outputs[1]).numpy(), atol=1e-4)
    own = truth.influence.reshape(N_TOPICS, 3, N_TOPICS).mean(1)
    assert own.argmax(1).tolist() == list(range(N_TOPICS))
    assert truth.kept.all() and truth.ceiling > 0.9


@pytest.mark.parametrize("name", ["untrac", "untrac_inverse", "trak"])
def test_influence_of_documents_is_ranked_as_retraining_without_them_does(
    context: MethodContext, truth: GroupTruth, name: str
):
    how = Unlearning(0.005, batch_size=8)
    found = {
        "untrac": lambda: untrac(context, GROUPS, how),
        "untrac_inverse": lambda: untrac_inverse(context, GROUPS, Unlearning(0.005, batch_size=8, epochs=3)),
        "trak": lambda: group_sums(find_method("trak").fit(context), GROUPS),
    }[name]()
    ranked = rank_groups(found.numpy(), truth, seed=0)
    assert ranked.mean > 0.6
    assert 0.3 < ranked.ci_low < ranked.mean < ranked.ci_high <= 1


def test_the_rank_correlation_is_the_mean_over_test_examples_and_leaves_diverged_groups_out():
    random = np.random.default_rng(0)
    said, falls = random.normal(size=(4, 9)), random.normal(size=(9, 2, 4))
    falls[5, 1, 2] = math.nan
    truth = GroupTruth(-falls, np.zeros((2, 4)))
    kept = [group for group in range(9) if group != 5]
    expected = [spearmanr(said[test, kept], falls[kept].mean(1)[:, test]).statistic for test in range(4)]
    found = rank_groups(said, truth, seed=1)
    np.testing.assert_allclose(found.per_test, expected)
    assert found.mean == pytest.approx(np.mean(expected))
    assert found.ci_low < found.mean < found.ci_high


def test_too_few_groups_rank_nothing():
    truth = GroupTruth(np.zeros((3, 1, 2)), np.zeros((1, 2)))
    with pytest.raises(InvalidSettingError, match="at least 4 such groups"):
        rank_groups(np.zeros((2, 3)), truth, 0)
    with pytest.raises(InvalidSettingError, match="both must have one shape"):
        rank_groups(np.zeros((3, 2)), truth, 0)
