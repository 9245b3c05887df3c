"""Explore: one test example, the training examples behind it, and how far that can be trusted."""

from collections.abc import Callable
from functools import partial

import streamlit as st

from pages.components.address import (
    choose_method,
    choose_other_method,
    choose_target,
    choose_test,
    choose_train,
    go_to_test,
    is_number,
    put_right,
    walk_buttons,
)
from pages.components.cards import side_card, test_card, train_card, trust_badge
from pages.components.charts import score_histogram, show
from pages.components.documents import documents_panel
from pages.components.export import take_away
from pages.components.gallery import MAX_ITEMS, GalleryItem, caption_of, gallery, named
from pages.components.learnt import learnt_badge
from pages.components.new_input import new_input_panel
from pages.components.pages import TRAIN, link_to
from pages.components.picks import pick_button, picked_train
from pages.components.routing import through_app
from pages.components.runs import refresh_when_published, run_with_scores, test_overview
from pages.components.text import plain
from pages.components.tokens import marked_by, say_question, token_answer, token_text
from pages.components.view import say
from pages.components.what_if import what_if_panel
from trak_core.store.run import Run
from trak_core.views.answer_words import answered, has_answer, raised
from trak_core.views.browse import TestFilter, TestOverview, find_tests, window_around
from trak_core.views.compare import side_by_side
from trak_core.views.examples import read_examples, shows_texts
from trak_core.views.explanation import Explanation, explain, explanation_table
from trak_core.views.stories import first_test
from trak_core.views.token_question import TokenAnswer, asks_by_token

through_app()


def filter_bar(run: Run, tests: TestOverview) -> list[int]:
    """The filters, and the numbers of the test examples that pass them; all when none does."""
    if not run.info.has_classes:
        return list(range(run.info.n_test))
    names = list(run.info.class_names)
    _check("label", "Label", lambda asked: asked in names)
    _check("confidence", "Confidence", lambda asked: is_number(asked) and int(asked) <= 100)
    _check("mistakes", "Only mistakes", lambda asked: asked.lower() in ("true", "false"))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        classes = st.multiselect("Label", names, key="label", bind="query-params", placeholder="every class", width=320)
        low, high = 0, 100
        if tests.is_known:
            title = "Confidence of the answer, %"
            low, high = st.slider(title, 0, 100, (0, 100), key="confidence", bind="query-params", width=260)
        text = ""
        if shows_texts(run):
            text = st.text_input("Text contains", key="contains", bind="query-params", width=220)
        mistakes = tests.is_known and st.toggle("Only mistakes", key="mistakes", bind="query-params")
        wanted = TestFilter(tuple(names.index(name) for name in classes), mistakes, (low / 100, high / 100), text)
        shown = find_tests(run, tests, wanted)
        st.text(f"{len(shown):,} shown of {run.info.n_test:,}")
    if not shown:
        st.info("No test example passes these filters; all are shown.", icon=":material/filter_alt_off:")
        return list(range(run.info.n_test))
    return shown


def _check(key: str, title: str, fits: Callable[[str], bool]) -> None:
    for asked in st.query_params.get_all(key):
        if not fits(asked):
            put_right(key, f"The address asks for “{plain(asked)}” under {title}, which is not there; it was skipped.")


def headline(run: Run, explanation: Explanation) -> None:
    """What the model says of the test example, in one sentence."""
    st.subheader(f"Test example {explanation.example.idx}", anchor=False)
    say("headline", _said(run, explanation))
    if doubt := explanation.trust.controls:
        say("controls", doubt, lambda sentence: st.caption(f":material/warning: {plain(sentence)}"))


def _said(run: Run, explanation: Explanation) -> str:
    if explanation.predicted < 0:
        return (
            f"Its label is “{explanation.target_name}”; what the model answered is not in this run. "
            f"Proponents spoke for “{explanation.target_name}”, opponents against it."
        )
    if explanation.confidence is None:
        said, label = explanation.predicted_name, explanation.example.label_name
        answer = f"The model output for the target “{label}” is {said}."
        if not explanation.example.is_labelled and asks_by_token(run, explanation.method):
            return f"The log odds of its {label} are {said} together. Proponents raise them, opponents lower them."
        if explanation.has_answer:
            answer = f"{answered(said, has_answer=True)}, and its target is {label}."
        what = raised(explanation.has_answer) if explanation.target == 0 else f"“{explanation.target_name}”"
        return f"{answer} Proponents raise {what}, opponents lower it."
    answer = f"The model calls this “{explanation.predicted_name}”, {explanation.confidence:.0%} sure"
    verdict = "and is right." if explanation.is_right else f"but its label is “{explanation.example.label_name}”."
    return f"{answer}, {verdict} Proponents spoke for “{explanation.target_name}”, opponents against it."


def default_target(run: Run) -> str:
    """What people call the default target."""
    return "the label" if run.info.has_classes else "the default"


def browse(run: Run, tests: TestOverview, shown: list[int], test_idx: int) -> None:
    """A strip of the test examples around the chosen one."""
    items = [
        GalleryItem(
            example,
            f"{named(example)}, {'model' if has_answer(run) else 'model output'} {tests.answers[example.idx]}",
            caption=example.label_name if example.is_labelled else caption_of(example),
            other=bool(tests.mistakes[example.idx]),
        )
        for example in read_examples(run, "test", window_around(shown, test_idx, MAX_ITEMS))
    ]
    gallery("Test examples", items, key="browse", on_pick=go_to_test, selected=test_idx, size=44, strip=True)


def put_beside(
    run: Run,
    tests: TestOverview,
    explanation: Explanation,
    other: str,
    selected: int | None,
    picks: list[int],
    is_part: bool,
) -> None:
    """The same question answered by a second method, with what both name marked.

    `is_part` where it is about a part of the test example, which the second method takes as a whole.
    """
    k = len(explanation.proponents)
    second = explain(run, tests, explanation.example.idx, explanation.target, other, k)
    title = plain(run.method_titles[other])
    same_question = second.target == explanation.target
    agreement = side_by_side(explanation, second) if same_question else None
    if agreement is None:
        st.info(
            f"{title} explains {default_target(run)} only, “{plain(second.target_name)}”. Choose that under “Explain” "
            "to compare the two.",
            icon=":material/info:",
        )
    else:
        rank = "" if agreement.rank_correlation is None else f"; rank correlation {agreement.rank_correlation:.2f}"
        st.markdown(
            f"**Compared with {title}**: both name {len(agreement.shared_proponents)} of {k} proponents and "
            f"{len(agreement.shared_opponents)} of {k} opponents{rank}.",
            help="The rank correlation is Spearman's, over the scores of all training examples: 1 is the same order. "
            "What is a proponent of one method and an opponent of the other is marked as contrary.",
        )
        if is_part:
            st.caption(f"{title} is asked about the whole test example, whatever is asked above.")
    left, proponents, opponents = st.columns([1.1, 2, 2])
    with left, st.container(border=True, height="stretch"):
        trust_badge(run, second)
        learnt_badge(second.quality)
    with proponents:
        side_card(second, "proponent", selected, picks, by=run.method_titles[other], agreement=agreement)
    with opponents:
        side_card(second, "opponent", selected, picks, by=run.method_titles[other], agreement=agreement)


def scores_panel(run: Run, explanation: Explanation) -> None:
    """All scores as a histogram, and how much the strongest carry."""
    unit = (
        "A score estimates by how much the model output rises when the example is added to the training set. For "
        "classes that is the margin, log(p / (1 - p)) of the class that is explained."
        if explanation.in_model_units
        else "Scores of this method have no unit: only their order counts."
    )
    tip = f"{unit} Triangles mark the examples shown above. Counts are logarithmic."
    st.markdown(f"**All {run.info.n_train:,} scores**", help=tip)
    show(score_histogram(explanation), "scores", f"Histogram of {run.info.n_train} scores")
    st.caption(f"The 10 strongest training examples carry {explanation.top_share:.0%} of all influence.")


def closer_panel(run: Run, explanation: Explanation, train_idx: int | None, answer: TokenAnswer | None) -> None:
    """A training example up close, with the ways on from it."""
    train_card(run, explanation, train_idx, marked_by(run, answer))
    if train_idx is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        pick_button(run, train_idx, "What if it were gone? P, or Alt and a click, does the same in a gallery.")
        link_to(TRAIN, "See all its effects", "history_edu", run=run.info.name, train=train_idx)


run = run_with_scores()
tests = test_overview(run)
top = st.container(gap="xsmall")  # the answer comes first on the page, though the choices decide it
shown = filter_bar(run, tests)
with st.container(horizontal=True, vertical_alignment="bottom"):
    test_idx = choose_test(run, default=first_test(run, tests))
    walk_buttons(
        max((idx for idx in shown if idx < test_idx), default=None),
        min((idx for idx in shown if idx > test_idx), default=None),
        go_to_test,
    )
    method = choose_method(run, width=210)
    beside = choose_other_method(run, method)
    target = choose_target(run, test_idx, has_answer=run.info.has_classes)
browse(run, tests, shown, test_idx)

explanation = explain(run, tests, test_idx, target, method)
if target is not None and explanation.target != target:
    st.info(
        f"{plain(run.method_titles[method])} explains {default_target(run)} only, so this is about "
        f"“{plain(explanation.target_name)}”.",
        icon=":material/info:",
    )
with top:
    headline(run, explanation)
answer = token_answer(run, explanation)
if answer is not None:
    explanation = answer.put_into(explanation)
    with top:
        say_question(answer)
looked_at, picks = st.session_state.get("train"), picked_train(run)
card, proponents, opponents = st.columns([1.1 if answer is None else 1.6, 2, 2])
with card:
    test_card(run, explanation, None if answer is None else partial(token_text, answer))
with proponents:
    side_card(explanation, "proponent", looked_at, picks)
with opponents:
    side_card(explanation, "opponent", looked_at, picks)
if beside is not None:
    is_part = answer is not None and answer.asked is not None
    put_beside(run, tests, explanation, beside, looked_at, picks, is_part)
left, right = st.columns([3, 2])
with left, st.container(border=True, height="stretch"):
    scores_panel(run, explanation)
with right, st.container(border=True, height="stretch"):
    st.markdown("**A training example up close**")
    closer_panel(run, explanation, choose_train(run), answer)
documents_panel(run, explanation)
with st.container(border=True):
    what_if_panel(run, test_idx, explanation.target, method, explanation.scores)
new_input_panel(run)
take_away(
    f"explanation_test_{test_idx}",
    f"{run.info.name}: test example {test_idx}",
    lambda: explanation_table(explanation),
    run=run.info.name,
    test=test_idx,
    target=st.session_state.get("target"),
    method=run.method_titles[method],
    train=st.session_state.get("train"),
    tokens=st.query_params.get("tokens"),
)
refresh_when_published(run)
