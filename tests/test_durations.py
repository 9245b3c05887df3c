"""Durations as people say them."""

import pytest

from trak_core.durations import in_minutes, time_taken, time_to_come


def test_minutes_are_told_in_the_singular_too():
    assert [in_minutes(each) for each in (1, 1.0, 0.5, 10)] == ["1 minute", "1 minute", "0.5 minutes", "10 minutes"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.9, "1 second"), (12.4, "12 seconds"), (60.2, "a minute"), (75, "75 seconds"), (204, "3.4 minutes")],
)
def test_what_something_took_is_rounded(seconds: float, words: str):
    assert time_taken(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "10 seconds"),
        (11, "20 seconds"),
        (46, "a minute"),
        (60, "a minute"),
        (61, "2 minutes"),
        (90000, "1,500 minutes"),
    ],
)
def test_what_something_will_take_is_rounded_up(seconds: float, words: str):
    assert time_to_come(seconds) == words
