"""Every page over a run of somebody's own model, and what pages say where its subject is not here."""

import json

import pytest

from tests.pages.conftest import words
from tests.pages.test_generated import PAGES
from trak_core.engine.subject_build import BY_A_LOOP


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_it(own_runs, open_page, page):
    app = open_page(page, run="mine", test="5", train="7")
    assert not app.exception
    assert not app.error


def test_the_page_on_evidence_says_what_was_left_out(own_runs, open_page):
    assert BY_A_LOOP in words(open_page("evidence", run="mine"))


def test_pages_say_that_a_file_has_changed_and_do_not_run_it(own_copy, open_page):
    file = own_copy / "my_subject.py"
    file.write_text(file.read_text() + f"\nopen({str(own_copy / 'was_run')!r}, 'w').close()\n")
    (own_copy / "runs" / "mine" / "sources.json").write_text(json.dumps({"subject": str(file)}))
    for page in PAGES:
        app = open_page(page, run="mine", test="5", train="7")
        assert not app.exception
        if page == "explore":
            assert "has changed since; put the old one back" in words(app)
    assert not (own_copy / "was_run").exists()
