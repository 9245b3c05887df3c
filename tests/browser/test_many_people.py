"""Ten people at once, each with a view of their own: nobody sees an error, and nobody sees another's page."""

import threading

import pytest

from tests.benchmarks.explorer_clock import WebsocketUser
from tests.browser.conftest import App

pytestmark = [pytest.mark.browser, pytest.mark.slow]

VIEWS = [
    *(("explore", {"test": str(number)}) for number in (3, 17, 40)),
    ("explore", {"mistakes": "true"}),
    ("training_item", {"train": "5"}),
    ("map", {}),
    ("evidence", {"test": "17"}),
    ("review", {}),
    ("runs", {}),
    ("", {}),
]


def test_ten_people_at_once_see_no_error(explorer: App):
    people = [WebsocketUser(explorer.address, page, {"run": "digits", **query}) for page, query in VIEWS]
    failures: list[str] = []

    def look(user: WebsocketUser) -> None:
        try:
            user.open()
            for number in range(8):
                user.enter("Test example", number)
        except Exception as error:  # a thread's error would be lost
            failures.append(f"{user.page}: {error!r}")

    threads = [threading.Thread(target=look, args=(user,)) for user in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for user in people:
        failures += user.errors
        user.close()
    assert failures == []
    assert "Traceback" not in explorer.log.read_text()
