"""What the pages show, against plain loops over the run."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from trak_core.errors import NotInRunError
from trak_core.views.browse import overview
from trak_core.views.compare import side_by_side
from trak_core.views.evidence import board
from trak_core.views.explanation import explain
from trak_core.views.lds_causes import lds_by_ridge, lds_causes
from trak_core.views.neighbours import DUPLICATE_COSINE, FeatureSpace, feature_space, nearest_train
from trak_core.views.stories import find_stories, first_test
from trak_core.views.training_items import first_item, training_item, training_item_table


def test_a_training_item_helps_and_hurts_what_its_column_of_scores_says(small_run):
    item = training_item(small_run, 17, k=5)
    column = small_run.scores()[:, 17].astype(np.float64)
    order = np.argsort(-column, kind="stable")
    assert [moved.example.idx for moved in item.helped] == order[:5].tolist()
    assert [moved.score for moved in item.helped] == pytest.approx(column[order[:5]].tolist())
    assert [moved.example.idx for moved in item.hurt] == np.argsort(column, kind="stable")[:5].tolist()
    assert item.covers_all


def test_ranks_and_hub_counts_are_those_of_every_list(small_run):
    item = training_item(small_run, 17)
    scores = small_run.scores()
    proponents = [np.argsort(-row, kind="stable")[:20] for row in scores]
    counts = np.zeros(small_run.info.n_train, dtype=int)
    for row in scores:
        for end in (np.argsort(-row, kind="stable")[:20], np.argsort(row, kind="stable")[:20]):
            counts[end] += 1
    assert item.n_helped == sum(17 in ids for ids in proponents)
    assert item.n_helped + item.n_hurt == counts[17]
    assert item.hub_rank == 1 + (counts > counts[17]).sum()
    for moved in item.helped:
        place = int((scores[moved.example.idx] > moved.score).sum()) + 1
        assert moved.rank == (place if place <= 100 else None)


def test_in_a_large_run_only_the_lists_are_read_and_it_says_so(small_run, monkeypatch):
    whole = training_item(small_run, 17, k=3)
    monkeypatch.setattr("trak_core.views.training_items.READ_WHOLE", 0)
    item = training_item(small_run, 17, k=3)
    assert not item.covers_all
    listed = [moved for moved in whole.helped if moved.rank]
    assert [moved.example.idx for moved in item.helped][: len(listed)] == [moved.example.idx for moved in listed]


def test_self_influence_is_ranked_among_all(small_run):
    first = first_item(small_run)
    item = training_item(small_run, first)
    assert item.self_influence_rank == 1
    rows = small_run.rows("SELECT max(score) FROM self_influence WHERE method = 'trak'")
    assert item.self_influence == pytest.approx(rows[0][0])


def test_a_training_item_outside_the_run_is_refused(small_run):
    with pytest.raises(NotInRunError, match="no train example 5000 in run 'digits'; it has numbers 0 to 1436"):
        training_item(small_run, 5000)


def test_the_table_of_a_training_item_holds_both_sides(small_run):
    table = training_item_table(training_item(small_run, 17, k=4))
    assert list(table["effect"]) == ["helps"] * 4 + ["hurts"] * 4
    assert set(table["train_idx"]) == {17}


def test_neighbours_are_the_largest_cosines_without_the_example_itself(small_run):
    space = feature_space(small_run)
    rows = np.array(
        [
            row[0]
            for row in small_run.rows(
                "SELECT phi FROM features WHERE checkpoint_id = 0 AND split = 'train' ORDER BY idx"
            )
        ]
    )
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows[17]
    cosines[17] = -np.inf
    near = nearest_train(space, 17, k=6)
    assert [neighbour.train_idx for neighbour in near] == np.argsort(-cosines)[:6].tolist()
    assert [neighbour.cosine for neighbour in near] == pytest.approx(np.sort(cosines)[::-1][:6].tolist(), abs=1e-5)


def test_a_copy_of_an_example_is_called_a_duplicate():
    rows = np.eye(4, dtype=np.float32)
    rows[3] = rows[1]
    near = nearest_train(FeatureSpace(rows, rows), 1, k=3)
    assert near[0].train_idx == 3
    assert near[0].is_duplicate
    assert not near[1].is_duplicate


def test_two_methods_side_by_side_share_what_their_lists_share(small_run):
    tests = overview(small_run)
    one, other = (explain(small_run, tests, 17, 0, name, k=10) for name in ("trak", "embedding"))
    agreement = side_by_side(one, other)
    lists = [set(small_run.proponents(17, 10, name)["train_idx"]) for name in ("trak", "embedding")]
    assert agreement.shared_proponents == lists[0] & lists[1]
    rows = [small_run.score_row(17, name) for name in ("trak", "embedding")]
    assert agreement.rank_correlation == pytest.approx(spearmanr(*rows).statistic)


def test_an_explanation_asks_the_store_few_questions(small_run, monkeypatch):
    """Each costs a millisecond or two of a click; one that was asked before costs nothing."""
    tests, asked = overview(small_run), []
    explain(small_run, tests, 17)
    plain = small_run._read
    monkeypatch.setattr(small_run, "_read", lambda fetch: asked.append(fetch) or plain(fetch))
    explain(small_run, tests, 18)
    assert len(asked) <= 6


def test_a_method_beside_itself_agrees_in_all(small_run):
    explanation = explain(small_run, overview(small_run), 17, k=10)
    agreement = side_by_side(explanation, explanation)
    assert agreement.rank_correlation == pytest.approx(1.0)
    assert len(agreement.shared_proponents) == len(agreement.shared_opponents) == 10
    assert not agreement.contrary


def test_stories_are_what_they_say(measured_run):
    tests = overview(measured_run)
    stories = {
        story.title.split(":")[0]: story for story in find_stories(measured_run, tests, feature_space(measured_run))
    }
    mistake = stories["A mistake and what is behind it"].test_idx
    wrong = np.flatnonzero(tests.predicted != tests.labels)
    assert mistake in wrong
    assert tests.confidence[mistake] == tests.confidence[wrong].max()
    assert first_test(measured_run, tests) == mistake
    odd = stories["Looks mislabelled"].train_idx
    by_label = measured_run.rows(
        "SELECT idx, avg(p_label) FROM predictions WHERE split = 'train' GROUP BY idx ORDER BY 2, 1"
    )
    assert odd == by_label[0][0]


def test_a_near_duplicate_is_told_only_where_there_is_one(small_run):
    tests, space = overview(small_run), feature_space(small_run)
    with_copy = FeatureSpace(np.vstack([space.train[:-1], space.test[40]]), space.test[[40, 41]])
    told = [story for story in find_stories(small_run, tests, with_copy) if "near-duplicate" in story.title]
    assert [(story.test_idx, story.train_idx) for story in told] == [(0, len(space.train) - 1)]
    far = FeatureSpace(space.train, -np.abs(space.test))
    if float((far.test @ far.train.T).max()) < DUPLICATE_COSINE:
        assert not [story for story in find_stories(small_run, tests, far) if "near-duplicate" in story.title]


def test_causes_of_a_low_lds_are_those_that_the_run_shows(measured_run):
    causes = {cause.title for cause in lds_causes(measured_run, board(measured_run))}
    assert any(title.startswith("The ceiling is") for title in causes) == (board(measured_run).noise_ceiling < 0.9)
    tried = lds_by_ridge(measured_run)
    assert max(tried, key=tried.get) == measured_run.info.provenance["ridge"]
