"""Questions about tokens of a test text: their parts add up, and are what whole gradients say."""

import copy

import numpy as np
import pytest
import torch

from trak_core.errors import InvalidSettingError, NeedNotMetError
from trak_core.gradients.by_token import by_name
from trak_core.inputs import take
from trak_core.live.tokens import TokenCheckpoint, TokenScorer, token_scorer, why_no_tokens
from trak_core.store.run import open_run

LENGTH = 16
"""Tokens of a passage that the model reads."""
TEST = 2
SHOWN = np.array([0, 3, 17, 40])


@pytest.fixture(scope="module")
def run(token_desk):
    with open_run(token_desk / "runs" / "words") as run:
        yield run


@pytest.fixture(scope="module")
def scorer(run) -> TokenScorer:
    return token_scorer(run)


def n_tokens(scorer: TokenScorer) -> int:
    return int(scorer.live.context.test.inputs["attention_mask"][TEST].sum())


def close(one, other) -> bool:
    return bool(np.abs(np.asarray(one) - np.asarray(other)).max() < 1e-4 * np.abs(np.asarray(other)).max())


@pytest.mark.parametrize("asked", [None, range(3, 4), range(2, 6)])
def test_the_marks_of_a_passage_add_up_to_its_score(scorer, asked):
    (marks,) = scorer.marks(TEST, SHOWN, asked)
    assert marks.shape == (len(SHOWN), LENGTH) and marks.dtype == np.float32
    assert close(marks.sum(1), scorer.scores(TEST, asked)[SHOWN])


def test_padding_carries_nothing(scorer):
    (marks,) = scorer.marks(TEST, SHOWN)
    inputs = take(scorer.live.context.train.inputs, torch.from_numpy(SHOWN))
    assert not marks[inputs["attention_mask"].numpy() == 0].any() and (marks != 0).any(1).all()


def test_the_scores_of_spans_add_up_to_that_of_the_whole_passage(scorer):
    spans = [range(3), range(3, 4), range(4, n_tokens(scorer))]
    assert close(sum(scorer.scores(TEST, span) for span in spans), scorer.scores(TEST))


def test_what_passages_carry_of_the_tokens_adds_up_to_their_scores(scorer):
    carried, scores = scorer.carried(TEST, SHOWN), scorer.scores(TEST)
    assert carried.shape == (LENGTH,) and close(carried.sum(), scores[SHOWN].sum())
    # Each token by itself: what passages carry of it is their scores for the question about it alone.
    alone = [scorer.scores(TEST, range(i, i + 1))[SHOWN].sum() for i in range(1, n_tokens(scorer))]
    assert close(carried[1 : n_tokens(scorer)], alone)
    assert carried[0] == 0 and not carried[n_tokens(scorer) :].any()


def projection_of(scorer: TokenScorer, each: TokenCheckpoint) -> list[dict[str, torch.Tensor]]:
    """The whole projection of a checkpoint, row by row, as tensors of the shapes of the parameters."""
    layers, ones = scorer.live.context.gradients.layers, torch.eye(each.features.shape[1])[:, None]
    return [by_name(each.feature_map.direction(one, torch.ones(1)), layers, each.weights) for one in ones]


def row_of(model, projection, inputs, target, places: range) -> np.ndarray:
    """The gradient of the log odds of some tokens of one example, by one backward pass, projected."""
    logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[0].double()
    p = logits.softmax(-1)
    f = sum(torch.logit(p[i - 1, target[0, i]]) for i in places)
    parameters = dict(model.named_parameters())
    gradients = dict(zip(parameters, torch.autograd.grad(f, list(parameters.values())), strict=True))
    return np.array([sum(float((part * gradients[name]).sum()) for name, part in row.items()) for row in projection])


def test_scores_are_the_dense_formula_over_whole_gradients_of_single_examples(run, scorer):
    """phi(span) (Phi^T Phi + l I)^-1 Phi^T in float64, of rows made one by one."""
    train, test, asked, total = scorer.live.context.train, scorer.live.context.test, range(2, 6), 0.0
    one = take(test.inputs, slice(TEST, TEST + 1))
    model = copy.deepcopy(scorer.live.context.architecture)
    for each in scorer.checkpoints:
        projection = projection_of(scorer, each)
        model.load_state_dict(dict(each.weights), strict=False)
        phi = row_of(model, projection, one, test.targets[TEST : TEST + 1], asked)
        rows = []
        for i in range(len(train)):
            inputs = take(train.inputs, slice(i, i + 1))
            places = range(1, int(inputs["attention_mask"].sum()))
            rows.append(row_of(model, projection, inputs, train.targets[i : i + 1], places))
        phis = np.stack(rows)
        assert close(phis, each.features)
        gram = phis.T @ phis
        gram += scorer.ridge * np.trace(gram) / len(phis) * np.eye(len(gram))
        total += phis @ np.linalg.solve(gram, phi)
    q = run.columns("SELECT avg(q) AS q FROM features WHERE split = 'train' GROUP BY idx ORDER BY idx")["q"]
    expected = total / len(scorer.checkpoints) * q * scorer.unit
    assert close(scorer.scores(TEST, asked), expected)


def test_scores_of_whole_passages_follow_the_stored_ones(run, scorer):
    stored = run.score_row(TEST, "trak")
    assert scorer.agreement.spearman > 0.8
    assert np.corrcoef(scorer.scores(TEST), stored)[0, 1] > 0.8


@pytest.mark.parametrize("asked", [range(1), range(LENGTH, LENGTH + 3), range(5, 5)])
def test_a_question_about_nothing_is_refused_with_what_can_be_asked(scorer, asked):
    with pytest.raises(InvalidSettingError, match="nothing is asked there; choose among 1, 2"):
        scorer.scores(TEST, asked)


def test_a_run_without_tokens_says_why(small_run):
    assert why_no_tokens(small_run) == "What is asked about in this run has no parts."
    with pytest.raises(NeedNotMetError, match="has no parts"):
        token_scorer(small_run)


def test_scorers_are_made_once(run, scorer):
    assert token_scorer(run) is scorer
