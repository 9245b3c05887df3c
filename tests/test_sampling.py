"""Examples that are drawn for a run: every class with its share, the same for the same seed."""

import numpy as np
import pytest

from trak_core.datasets.sampling import draw, sampled
from trak_core.errors import InvalidSettingError
from trak_core.modalities.raw import RawData, RawSplit


def raw(n_train: int, n_test: int, n_classes: int = 4) -> RawData:
    def part(n: int) -> RawSplit:
        labels = np.minimum(np.arange(n) % (n_classes + 3), n_classes - 1)  # the last class is the largest
        return RawSplit([f"text {i}" for i in range(n)], labels.astype(np.int64))

    names = tuple(f"class {i}" for i in range(n_classes))
    return RawData("texts", "text", names, part(n_train), part(n_test), notes=("as read",))


@pytest.mark.parametrize("n", [4, 5, 17, 100, 349, 350])
def test_every_class_has_its_share_within_one_and_at_least_one(n):
    labels = raw(350, 10).train.labels
    rows = draw(labels, n, seed=3)
    assert len(rows) == n
    assert (np.diff(rows) > 0).all()
    drawn = np.bincount(labels[rows], minlength=4)
    due = np.bincount(labels) * n / len(labels)
    assert (drawn >= 1).all()
    assert (np.abs(drawn - due) < 1 + (due < 1).sum()).all()
    assert (draw(labels, n, seed=3) == rows).all()


def test_another_seed_draws_others():
    labels = raw(350, 10).train.labels
    assert (draw(labels, 100, 0) != draw(labels, 100, 1)).any()


def test_what_is_drawn_is_said():
    drawn = sampled(raw(350, 2000), n_train=40)
    assert (len(drawn.train), len(drawn.test)) == (40, 1500)
    assert drawn.notes[0] == "as read"
    assert drawn.notes[1].startswith("40 of 350 train examples were drawn")
    assert drawn.notes[2].startswith("1,500 of 2,000 test examples were drawn")


def test_small_data_are_left_as_they_are():
    whole = raw(350, 1000)
    assert sampled(whole).notes == whole.notes


def test_texts_keep_their_labels():
    whole = raw(350, 100)
    drawn = sampled(whole, n_train=50, n_test=20)
    for part, source in ((drawn.train, whole.train), (drawn.test, whole.test)):
        of_text = dict(zip(source.contents, source.labels, strict=True))
        assert [of_text[text] for text in part.contents] == part.labels.tolist()


def test_very_many_train_examples_leave_room_for_fewer_explained_ones():
    assert len(sampled(raw(60_000, 2000)).test) == 200_000_000 // (4 * 60_000)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n_train": 3}, "n_train=3; it must be from 4"),
        ({"n_train": 351}, "to 350, all that there are"),
        ({"n_test": 0}, "n_test=0"),
    ],
)
def test_numbers_that_cannot_be_drawn_are_refused(sizes, message):
    with pytest.raises(InvalidSettingError, match=message):
        sampled(raw(350, 100), **sizes)


def test_more_than_a_run_may_have_is_refused_unless_fewer_are_drawn():
    with pytest.raises(InvalidSettingError, match="n_train"):
        sampled(raw(100_001, 10))
    assert len(sampled(raw(100_001, 10), n_train=50).train) == 50


def test_more_scores_than_fit_into_memory_are_refused_with_what_would_fit():
    many = raw(20_000, 5_000)
    with pytest.raises(InvalidSettingError, match="at most 10,000 train examples"):
        sampled(many, n_test=5_000)
    assert len(sampled(many, n_train=10_000, n_test=5_000).test) == 5_000
    with pytest.raises(InvalidSettingError, match="n_train"):
        sampled(raw(60_000, 3_000, n_classes=1_000))
