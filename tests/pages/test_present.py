import html

from tests.pages.conftest import words
from trak_core.store.run import open_run
from trak_core.views.browse import overview
from trak_core.views.neighbours import feature_space
from trak_core.views.stories import find_stories


def large_words(app) -> str:
    return "\n".join(html.unescape(element.proto.body) for element in app.get("html"))


def test_every_story_of_the_run_is_a_step(runs, open_page):
    with open_run(runs / "digits") as run:
        stories = find_stories(run, overview(run), feature_space(run))
    for step, story in enumerate(stories, start=1):
        app = open_page("present", run="digits", step=str(step))
        assert not app.exception
        assert story.title in large_words(app)
        assert story.text in large_words(app)
        assert f"{step} of {len(stories)}" in words(app)


def test_next_leads_to_the_next_story(runs, open_page):
    app = open_page("present", run="digits")
    first = large_words(app)
    next(button for button in app.button if button.label == "Next").click().run()
    assert not app.exception
    assert large_words(app) != first
    assert "2 of" in words(app)


def test_a_step_that_is_not_there_gives_a_notice(runs, open_page):
    for bad in ("0", "99", "-1", "x", "9" * 4000):
        app = open_page("present", run="digits", step=bad)
        assert not app.exception
        assert "There is no step" in words(app)
