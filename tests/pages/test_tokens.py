"""Explore on a run of a language model: questions about tokens."""

import json

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.conftest import words
from tests.pages.test_explore import gallery_ids
from trak_core.live.continuing import continue_text, continued_text
from trak_core.live.tokens import token_scorer
from trak_core.store.ranking import strongest
from trak_core.store.run import open_run

TEST = "2"


def shown(app: AppTest, label: str) -> dict:
    """What a component was given to show, from its message to the browser."""
    for element in app.get("bidi_component"):
        data = json.loads(element.proto.json or "{}")
        if data.get("label") == label:
            return data
    raise AssertionError(f"no component {label!r}")


def test_the_passage_is_shown_by_its_tokens_and_every_one_but_the_first_can_be_asked(token_runs, open_page):
    app = open_page("explore", run="words", test=TEST)
    assert not app.exception
    data = shown(app, "tokens of the test example")
    pieces = data["texts"][0]["pieces"]
    with open_run(token_runs / "words") as run:
        (text,) = run.rows("SELECT text FROM examples WHERE split = 'test' AND idx = 2")[0]
        assert "".join(piece["text"] for piece in pieces) == text
        places = [piece["places"] for piece in pieces if piece["places"]]
        assert places == [[i, i] for i in range(1, len(text.split()))] and data["asked"] is None
        assert gallery_ids(app, "proponent") == run.proponents(2, k=6)["train_idx"].tolist()
    assert f"All {len(places)} tokens are asked about" in words(app)
    assert "Live scores of whole texts follow the stored ones: rank correlation 0." in words(app)


def test_a_question_in_the_address_is_answered_by_live_scores_with_marks(token_runs, open_page):
    app = open_page("explore", run="words", test=TEST, tokens="2-4")
    assert not app.exception
    data = shown(app, "tokens of the test example")
    assert data["asked"] == [2, 4]
    with open_run(token_runs / "words") as run:
        scores = token_scorer(run).scores(2, range(2, 5))
        assert gallery_ids(app, "proponent") == strongest(scores, "proponent", 6).tolist()
        assert gallery_ids(app, "opponent") == strongest(scores, "opponent", 6).tolist()
        (text,) = run.rows("SELECT text FROM examples WHERE split = 'test' AND idx = 2")[0]
    assert f"Asked about “{' '.join(text.split()[2:5])}” alone" in words(app)
    item = shown(app, "proponent")["items"][0]
    assert item["score"] == f"{scores[item['id']]:+.3g}"
    coloured = item["media"][0]["coloured"]
    assert any(colour for _, colour in coloured) and all(isinstance(said, str) for said, _ in coloured)


@pytest.mark.parametrize("asked", ["0", "90-95", "4-2", "x", "-3", "1-", "9" * 40])
def test_a_question_that_cannot_be_asked_gives_a_notice_and_the_whole_passage(token_runs, open_page, asked):
    app = open_page("explore", run="words", test=TEST, tokens=asked)
    assert not app.exception
    assert "This is about the whole text." in words(app)
    assert "tokens are asked about; click one" in words(app) and "tokens" not in app.query_params


def test_a_question_belongs_to_its_test_example(token_runs, open_page):
    app = open_page("explore", run="words", test=TEST, tokens="2-4")
    next(button for button in app.button if button.label == "Next").click().run()
    assert not app.exception
    assert "tokens are asked about; click one" in words(app) and "tokens" not in app.query_params


def test_another_method_answers_about_the_whole_passage_and_says_so(token_runs, open_page):
    app = open_page("explore", run="words", test=TEST, tokens="2-4", method="Random")
    assert not app.exception
    assert "Tokens are asked about by TRAK, in runs of language models. This is about the whole text." in words(app)


def test_a_training_passage_up_close_has_the_rank_that_it_has_for_the_question(token_runs, open_page):
    app = open_page("explore", run="words", test=TEST, tokens="2-4", train="7")
    with open_run(token_runs / "words") as run:
        scores = token_scorer(run).scores(2, range(2, 5))
    rank = 1 + int((scores > scores[7]).sum())
    assert f"Score here {scores[7]:+.3g}, rank {rank} of 48" in words(app)


def test_documents_are_shown_with_their_sums_and_one_can_be_picked_as_a_whole(token_runs, open_page):
    app = open_page("explore", run="words", test=TEST, tokens="2-4")
    with open_run(token_runs / "words") as run:
        scores, origins = token_scorer(run).scores(2, range(2, 5)), np.array(run.origins("train"))
    sums = {name: scores[origins == name].sum() for name in ("red", "green", "blue")}
    best = max(sums, key=lambda name: sums[name])
    assert f"{best}: {sums[best]:+.3g} together, by 16 training examples" in words(app)
    app.button(key="document_gone").click().run()
    assert not app.exception
    assert app.query_params["picked"] == ".".join(map(str, np.flatnonzero(origins == best)))
    assert "Without these 16, " in words(app)


def test_the_page_says_what_language_models_say_and_speaks_of_no_classes(token_runs, open_page):
    app = open_page("explore", run="words", test=TEST)
    with open_run(token_runs / "words") as run:
        loss = run.rows("SELECT avg(loss) FROM predictions WHERE split = 'test' AND idx = 2")[0][0]
        (text,) = run.rows("SELECT text FROM examples WHERE split = 'test' AND idx = 2")[0]
    n, said = len(text.split()) - 1, words(app)
    assert f"The log odds of its {n} tokens are " in said
    assert f"log-likelihood {-loss / n:.2f} a token, perplexity {np.exp(loss / n):.0f}." in said
    assert "Type a prompt: the model goes on" in said
    captions = {item["caption"] for item in shown(app, "proponent")["items"]}
    assert captions <= {"red", "green", "blue"}
    for page in ("explore", "training_item", "evidence", "map", "present", "review", "home"):
        app = open_page(page, run="words", test=TEST, train="3")
        assert not app.exception
        for wrong in ("label 1", "The model answers", "Label: ", "numbers as targets", "margin of"):
            assert wrong not in words(app), (page, wrong)


def test_a_second_method_stands_beside_a_question_with_what_both_name_marked(token_runs, open_page):
    app = open_page("explore", run="words", test=TEST, tokens="2-4", beside="Random")
    assert not app.exception
    assert "Random is asked about the whole test example, whatever is asked above." in words(app)
    ours, theirs = gallery_ids(app, "proponent"), gallery_ids(app, "proponent by Random")
    assert len(ours) == len(theirs) == 6
    both = [item["id"] for item in shown(app, "proponent by Random")["items"] if item["badge"] == "both"]
    assert both == [idx for idx in theirs if idx in ours]


def test_runs_without_tokens_show_texts_as_they_are_and_leave_the_question_out(runs, open_page):
    app = open_page("explore", test="17", tokens="2-4")
    assert not app.exception
    assert "Tokens are asked about by TRAK" in words(app)


def test_a_prompt_is_gone_on_with_and_its_continuation_explained_by_the_token(token_runs, open_page):
    app = open_page("explore", run="words", test=TEST)
    assert "Type a prompt: the model goes on" in words(app)
    app.text_area(key="new prompt").input("w3 w4 w5").run()
    assert not app.exception
    said = app.text_area(key="new continuation").value
    with open_run(token_runs / "words") as run:
        assert said == continue_text(run, "w3 w4 w5")
        data = shown(app, "tokens of your text")
        pieces = data["texts"][0]["pieces"]
        assert "".join(piece["text"] for piece in pieces) == "w3 w4 w5" + said
        assert next(piece["places"] for piece in pieces if piece["places"]) == [3, 3]
        app.text_area(key="new continuation").input(" w9 w8").run()
        own = continued_text(run, "w3 w4 w5", " w9 w8").text
        scores = token_scorer(run).scores(own)
    assert gallery_ids(app, "proponent of your text") == strongest(scores, "proponent", 6).tolist()
    assert gallery_ids(app, "opponent of your text") == strongest(scores, "opponent", 6).tolist()
    app.session_state["tokens asked of own text"] = "4-4"
    app.run()
    assert shown(app, "tokens of your text")["asked"] == [4, 4] and "Asked about “w8” alone" in words(app)


def test_a_prompt_that_is_too_long_is_refused_where_it_is_typed(token_runs, open_page):
    app = open_page("explore", run="words", test=TEST)
    app.text_area(key="new prompt").input("w3 w4").run()
    app.text_area(key="new prompt").input("w3 " * 30).run()
    assert not app.exception
    assert "This prompt has 30 tokens" in app.error[0].value and "shorten it" in app.error[0].value
    assert app.text_area(key="new continuation").value == ""
