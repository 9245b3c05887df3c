"""The parts of the Explore page: its first sentence, the strip of test examples, the second method, and the rest."""

import streamlit as st

from pages.components.address import go_to_test
from pages.components.cards import side_card, train_card
from pages.components.charts import score_histogram, show
from pages.components.gallery import MAX_ITEMS, GalleryItem, gallery
from pages.components.pages import TRAIN
from pages.components.picks import pick_button, picked_train, toggle_pick
from pages.components.text import plain
from pages.components.trust import trust_badge
from pages.components.view import Words, note
from trak_core.store.run import Run
from trak_core.views.browse import TestOverview, window_around
from trak_core.views.compare import side_by_side
from trak_core.views.examples import read_examples
from trak_core.views.explanation import Explanation, explain


def headline(explanation: Explanation) -> None:
    """What the model says of the test example, in one sentence."""
    st.subheader(f"Test example {explanation.example.idx}", anchor=False)
    said = _said(explanation)
    st.text(said)
    note("headline", Words(said))


def _said(explanation: Explanation) -> str:
    if explanation.predicted < 0:
        return (
            f"Its label is “{explanation.target_name}”; what the model answered is not in this run. These training "
            f"examples spoke for “{explanation.target_name}”, and these against it."
        )
    if explanation.confidence is None:
        answer = f"The model answers {explanation.predicted_name}, and its target is {explanation.example.label_name}."
        what = "the answer" if explanation.target == 0 else f"“{explanation.target_name}”"
        return f"{answer} These training examples raise {what}, and these lower it."
    answer = f"The model calls this “{explanation.predicted_name}”, {explanation.confidence:.0%} sure"
    verdict = "and is right." if explanation.is_right else f"but its label is “{explanation.example.label_name}”."
    if explanation.target_class == explanation.predicted:
        return f"{answer}, {verdict} These training examples made it so, and these spoke against it."
    return f"{answer}, {verdict} These training examples spoke for “{explanation.target_name}”, and these against it."


def default_target(run: Run) -> str:
    """What people call the default target."""
    return "the label" if run.info.has_classes else "the default"


def browse(run: Run, tests: TestOverview, shown: list[int], test_idx: int) -> None:
    """A strip of the test examples around the chosen one."""
    items = [
        GalleryItem(
            example,
            f"test example {example.idx}, label {example.label_name}, model {tests.answers[example.idx]}",
            caption=example.label_name,
            other=bool(tests.mistakes[example.idx]),
        )
        for example in read_examples(run, "test", window_around(shown, test_idx, MAX_ITEMS))
    ]
    gallery("Test examples", items, key="browse", on_pick=go_to_test, selected=test_idx, size=44, strip=True)


def put_beside(run: Run, tests: TestOverview, explanation: Explanation, other: str, selected: int | None) -> None:
    """The same question answered by a second method, with what both name marked."""
    second = explain(run, tests, explanation.example.idx, explanation.target, other)
    title, picks = plain(run.method_titles[other]), picked_train(run)
    same_question = second.target == explanation.target
    agreement = side_by_side(run, explanation, second) if same_question else None
    if agreement is None:
        st.info(
            f"{title} explains {default_target(run)} only, “{plain(second.target_name)}”. Choose that under “Explain” "
            "to compare the two.",
            icon=":material/info:",
        )
    else:
        k = len(explanation.proponents)
        rank = "" if agreement.rank_correlation is None else f"; rank correlation {agreement.rank_correlation:.2f}"
        st.markdown(
            f"**{title} beside it**: both name {len(agreement.shared_proponents)} of {k} proponents and "
            f"{len(agreement.shared_opponents)} of {k} opponents{rank}.",
            help="The rank correlation is Spearman's, over the scores of all training examples: 1 is the same order. "
            "What is a proponent of one method and an opponent of the other is marked as contrary.",
        )
    left, proponents, opponents = st.columns([1.1, 2, 2])
    with left, st.container(border=True, height="stretch"):
        trust_badge(second.trust, will_be_measured=run.will_have_lds)
    for column, side, sign, shared in (
        (proponents, "proponent", ":blue[▲ **Proponents**]", agreement.shared_proponents if agreement else ()),
        (opponents, "opponent", ":orange[▼ **Opponents**]", agreement.shared_opponents if agreement else ()),
    ):
        with column:
            side_card(
                second,
                "proponent" if side == "proponent" else "opponent",
                selected,
                title=f"{sign} by {title}",
                name=run.method_titles[other],
                shared=shared,
                contrary=agreement.contrary if agreement else (),
                chosen=picks,
                on_choose=toggle_pick,
            )


def scores_panel(run: Run, explanation: Explanation) -> None:
    """All scores as a histogram, and how much the strongest carry."""
    unit = (
        "A score estimates by how much the model output rises when the example is added to the training set. For "
        "classes that is the margin, log(p / (1 - p)) of the class that is explained."
        if explanation.in_model_units
        else "Scores of this method have no unit: only their order counts."
    )
    st.markdown(
        f"**All {run.info.n_train:,} scores**",
        help=f"{unit} Triangles mark the examples shown above. Counts are logarithmic.",
    )
    show(score_histogram(explanation), "scores", f"Histogram of {run.info.n_train} scores")
    st.caption(f"The 10 strongest training examples carry {explanation.top_share:.0%} of all influence.")


def closer_panel(run: Run, explanation: Explanation, train_idx: int | None) -> None:
    """A training example up close, with the ways on from it."""
    train_card(run, explanation, train_idx)
    if train_idx is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        pick_button(run, train_idx, "What if it were gone? P, or Alt and a click, does the same in a gallery.")
        st.page_link(
            TRAIN,
            label="All that it does",
            icon=":material/history_edu:",
            query_params={"run": run.info.name, "train": str(train_idx)},
        )
