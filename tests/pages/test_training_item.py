from tests.pages.conftest import words
from tests.pages.test_explore import gallery_ids
from trak_core.store.run import open_run
from trak_core.views.training_items import first_item, training_item


def test_the_page_shows_what_the_example_helps_and_hurts(runs, open_page):
    app = open_page("training_item", run="digits", train="17")
    assert not app.exception
    with open_run(runs / "digits") as run:
        item = training_item(run, 17)
    assert gallery_ids(app, "test examples that it helps") == [moved.example.idx for moved in item.helped]
    assert gallery_ids(app, "test examples that it hurts") == [moved.example.idx for moved in item.hurt]
    said = words(app)
    assert "Training example 17" in said
    assert f"of {item.n_helped:,} test examples" in said


def test_without_an_address_it_begins_with_the_highest_self_influence(runs, open_page):
    app = open_page("training_item")
    with open_run(runs / "digits") as run:
        assert f"Training example {first_item(run)}" in words(app)


def test_a_number_that_is_not_there_gives_a_notice_and_the_page_goes_on(runs, open_page):
    for bad in ("-1", "99999", "x", "9" * 5000):
        app = open_page("training_item", run="digits", train=bad)
        assert not app.exception
        assert "There is no training example" in words(app)
        assert "Training example" in words(app)


def test_next_and_previous_walk_through_the_training_examples(runs, open_page):
    app = open_page("training_item", run="digits", train="17")
    next(button for button in app.button if button.label == "Next").click().run()
    assert "Training example 18" in words(app)
    next(button for button in app.button if button.label == "Previous").click().run()
    assert "Training example 17" in words(app)


def test_a_label_that_the_models_do_not_believe_is_told(runs, open_page):
    with open_run(runs / "digits") as run:
        worst = run.rows(
            "SELECT idx, avg(p_label) AS p FROM predictions WHERE split = 'train' GROUP BY idx ORDER BY p LIMIT 1"
        )[0][0]
        item = training_item(run, worst)
    said = words(open_page("training_item", run="digits", train=str(worst)))
    assert ("Even after training on this label" in said) == item.looks_wrong
