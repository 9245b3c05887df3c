"""Evidence: do the scores predict what happens when models are retrained on other data?"""

from typing import Any

import streamlit as st

from pages.components import charts
from pages.components.address import choose_method, choose_test, go_to_test
from pages.components.evidence_to_come import evidence_to_come_panel
from pages.components.export import take_away
from pages.components.gallery import GalleryItem, gallery
from pages.components.learnt import learnt_panel
from pages.components.media import show_media, show_short_text
from pages.components.pages import EXPLORE, link_to
from pages.components.routing import through_app
from pages.components.runs import (
    builds,
    can_be_measured,
    is_busy,
    refresh_when_published,
    run_with_scores,
    test_overview,
)
from pages.components.text import lds_in_words, plain
from pages.components.view import Words, note
from trak_core.store.progress import read_status
from trak_core.store.run import Run
from trak_core.views import evidence as views
from trak_core.views.evidence import notes_of, what_is_left_to_measure, why_no_evidence
from trak_core.views.evidence_to_come import evidence_to_come
from trak_core.views.examples import read_examples
from trak_core.views.lds_causes import lds_by_ridge, lds_causes
from trak_core.views.stories import first_test

through_app()

N_ENDS = 12
LDS_HELP = (
    "Linear datamodeling score: the Spearman correlation, over random halves of the training data, between the sum "
    "of the scores of a half and what a model retrained on it says. 1: the order is predicted perfectly. 0: chance."
)
FORMATS = {
    "LDS": "%.3f",
    "from": "%.3f",
    "to": "%.3f",
    "share of ceiling": "percent",
    "CPU seconds": "%.1f",
    "memory (MB)": "%.0f",
}


def number_columns(formats: dict[str, str]) -> dict[str, Any]:
    return {name: st.column_config.NumberColumn(format=form) for name, form in formats.items()}


def headline(found: views.Board) -> None:
    """The answer of the page in one sentence."""
    best = found.rows[0]
    st.subheader("Can these scores be believed?", anchor=False)
    intro = f"{found.n_models:,} models were retrained on random halves of the training data."
    if best.lds is None or best.ci_low is None or best.ci_high is None:
        st.markdown(f"{intro} No method has scores that differ between halves, so LDS is undefined.", help=LDS_HELP)
        return
    lds = lds_in_words(best.lds, found.noise_ceiling, best.ci_low, best.ci_high)
    st.markdown(f"{intro} **{plain(best.title)} predicted what they would say with {lds}.**", help=LDS_HELP)


def method_panel(found: views.Board) -> None:
    """LDS of every method as a figure and as a table."""
    st.markdown("**Methods**: the further right, the better predicted", help=LDS_HELP)
    titles = ", ".join(f"{row.title} {row.lds:.2f}" for row in found.rows if row.lds is not None)
    charts.show(charts.methods_chart(found), "methods", f"LDS by method: {titles}")
    apart = " that no setting was chosen on" if found.n_reported < found.n_test else ""
    models = f"{found.n_seeds} models" if found.n_seeds > 1 else "one model"
    st.caption(
        f"Measured over {found.n_subsets} halves with {models} each and {found.n_reported} test examples{apart}. "
        "The noise ceiling is the highest LDS that any method can reach, because models trained on "
        "one half with other seeds differ among themselves. Grey: baselines."
    )
    if found.slope is not None:
        others = f" and as {found.slope_of_others:.2f} for other classes" if found.slope_of_others is not None else ""
        st.caption(f"Calibration: a change predicted as 1 came true as {found.slope:.2f} for labels{others}.")


def cost_panel(found: views.Board) -> None:
    """Every method with its interval and its cost, and what could not be measured."""
    st.markdown("**Accuracy and cost**", help="CPU seconds of all processor cores together.")
    st.dataframe(views.board_table(found), column_config=number_columns(FORMATS), hide_index=True)
    for method, reason in found.left_out.items():
        st.text(f"Not measured: {method}. {reason}")
    if found.n_diverged:
        st.text(
            f"{found.n_diverged} random halves, subsets or removals were skipped, because a model of them diverged."
        )


def measure_panel(run: Run) -> None:
    """Offers to measure the methods that the run does not have yet."""
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch", gap="xsmall"):
            title, caption = what_is_left_to_measure(run)
            st.markdown(f"**{title}**")
            st.caption(caption)
            begun = read_status(run.path)
            if problem := builds().failure(run.path) or (begun.message if begun else None):
                st.text(problem)
        st.button(
            "Go on measuring" if begun else "Measure every method",
            on_click=builds().start_build,
            args=(run.path, begun.command if begun and begun.command else ["evidence", run.info.name]),
            icon=":material/science:",
        )


def removal_panel(run: Run) -> None:
    """What happens when the strongest proponents are taken away and models are trained again."""
    curves = views.removal_curves(run)
    st.markdown(
        "**Remove the top examples**: does the answer change?",
        help="The training examples with the highest scores for a test example are removed, and models are retrained "
        "without them, with the same seeds. The further the margin falls, the better the method found what the answer "
        "leans on.",
    )
    if not curves:
        st.caption("Not measured for this run.")
        return
    best = curves[0]
    alt = f"Mean fall of the margin against number removed; {best.title} falls furthest, by {best.falls[-1]:.2f}"
    charts.show(charts.removal_chart(curves), "removal", alt)
    compared = views.removal_comparison(run, 10)
    if compared is not None:
        st.markdown(
            f"Removing 10 proponents of **{plain(compared.title)}** hurts more than removing the 10 nearest neighbours "
            f"of the same class for **{compared.share:.0%}** of {compared.n_tests} test examples (95% interval "
            f"{compared.ci_low:.0%} to {compared.ci_high:.0%})."
        )
    flips = views.flip_sizes(run)
    if flips is not None:
        title, sizes, n_tests = flips
        smallest = f"; the smallest such set has {sizes[0]}" if sizes else ""
        st.caption(
            f"{len(sizes)} of {n_tests} answers flip when up to {max(best.sizes)} proponents of {plain(title)} are "
            f"removed{smallest}."
        )


def truth_panel(run: Run) -> None:
    """LDS against other questions: less data dropped, and one very model instead of the average over seeds."""
    table = views.truth_table(run)
    st.markdown(
        "**LDS for smaller removals**",
        help="One model: the training of one checkpoint repeated with the same seed and batches, where the dropped "
        "examples count for nothing. Several seeds: models retrained on what is left, averaged.",
    )
    if table.empty:
        st.caption("Not measured for this run.")
        return
    st.dataframe(
        table,
        column_config=number_columns({name: "%.3f" for name in table.columns if name != "method"}),
        hide_index=True,
    )
    ceilings = views.truth_ceilings(run)
    words = ", ".join(f"{ceiling:.2f} with {dropped:.0%} dropped" for dropped, ceiling in ceilings.items())
    if words:
        st.caption(f"Noise ceilings for several seeds: {words}. One model alone has no noise.")


def example_panel(run: Run, method: str, test_idx: int) -> float | None:
    """Prediction against actual outcomes of one test example; returns its LDS, None where undefined."""
    fit = views.predicted_against_actual(run, test_idx, method)
    example = read_examples(run, "test", [test_idx])[0]
    tip = "One point a random half of the training data."
    st.markdown("**One test example**: predicted against retrained, margin of its label", help=tip)
    with st.container(horizontal=True, vertical_alignment="center"):
        show_media(example.media, 72, f"test example {test_idx}", show_short_text)
        with st.container(width="stretch", gap="xsmall"):
            st.text(f"Test example {test_idx}, label {example.label_name}")
            if fit.lds is None or fit.ci_low is None or fit.ci_high is None:
                st.text("LDS undefined: the scores predict the same for every half.")
            else:
                st.text(lds_in_words(fit.lds, None, fit.ci_low, fit.ci_high))
            link_to(
                EXPLORE, "Open in Explore", "search", run=run.info.name, test=test_idx, method=run.method_titles[method]
            )
    charts.show(
        charts.fit_chart(fit),
        "fit",
        f"Prediction against actual margin of test example {test_idx} over retrained halves",
    )
    return fit.lds


def choose_by_picture(run: Run, method: str, test_idx: int) -> None:
    """The test examples that are predicted best and least well, each a button that chooses it."""
    lds = run.lds(method).per_test
    for title, idxs in zip(
        ("Best predicted", "Worst predicted"), views.ranked_by_lds(run, method, N_ENDS), strict=True
    ):
        st.caption(title)
        items = [
            GalleryItem(
                example, f"test example {example.idx}, LDS {lds[example.idx]:.2f}", caption=f"{lds[example.idx]:.2f}"
            )
            for example in read_examples(run, "test", idxs)
        ]
        gallery(title, items, key=title, on_pick=go_to_test, selected=test_idx, size=56, strip=True)


def ridge_panel(run: Run) -> None:
    """LDS of the run's own method against the ridge, where one was chosen."""
    tried = lds_by_ridge(run)
    st.markdown(
        "**The ridge that was chosen**",
        help="The ridge keeps the kernel from trusting directions in which gradients hardly differ. It was chosen on "
        "subsets and test examples that nothing is reported on.",
    )
    if not tried:
        st.caption("No ridge was chosen for this run.")
        return
    charts.show(charts.ridge_chart(tried), "ridge", "LDS on fitting subsets against the ridge")


def why_panel(run: Run, found: views.Board) -> None:
    """What keeps LDS down, as far as the run's data shows it."""
    st.markdown("**Why is LDS not higher?**", help="Causes that the data of this run shows; nothing is guessed.")
    causes = lds_causes(run, found)
    if not causes:
        st.caption("Nothing stands out: the ceiling is high, and neither checkpoints nor projection hold it back.")
    for cause in causes:
        st.markdown(f"**{plain(cause.title)}**: {plain(cause.text)}")
        note(f"cause {cause.title}", Words(f"{cause.title}: {cause.text}"))


run = run_with_scores()
learnt_panel(run)
if not run.has_lds and not run.will_have_lds:
    to_come = evidence_to_come(run)
    st.subheader("Trust is not measured yet" if to_come else "Nothing was retrained for this run", anchor=False)
    if to_come:
        evidence_to_come_panel(run, to_come)
        refresh_when_published(run)
    else:
        st.write(why_no_evidence(run))
    if not to_come and not is_busy(run) and can_be_measured(run):
        measure_panel(run)
    st.stop()
if not run.has_lds:
    st.subheader("The evidence is not there yet", anchor=False)
    st.write(
        "Models are being retrained on random halves of the training data. This page shows what came out as soon as "
        "they are done; nothing needs to be reloaded. If the build was stopped, “Go on” on the Home page continues it."
    )
    refresh_when_published(run)
    st.stop()

found = views.board(run)
headline(found)
for sentence in notes_of(run):
    st.caption(plain(sentence))
if is_busy(run):
    refresh_when_published(run)
else:
    if to_come := evidence_to_come(run):
        evidence_to_come_panel(run, to_come)
    if not found.is_measured and can_be_measured(run):
        measure_panel(run)
left, right = st.columns(2)
with left:
    with st.container(border=True):
        method_panel(found)
    with st.container(border=True):
        tip = "LDS of the run's own method when scores are averaged over fewer checkpoints."
        st.markdown("**More checkpoints, better scores**", help=tip)
        charts.show(charts.checkpoints_chart(found), "checkpoints", "LDS against number of checkpoints")
with right:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            test_idx = choose_test(run, default=first_test(run, test_overview(run)))
            method = choose_method(run, width=210)
        chosen = example_panel(run, method, test_idx)
    with st.container(border=True):
        st.markdown("**LDS of every test example**", help="How many test examples are predicted how well.")
        values = views.lds_values(run, method)
        charts.show(
            charts.lds_histogram(values.tolist(), chosen), "lds", f"Histogram of LDS over {len(values)} test examples"
        )
    with st.container(border=True):
        why_panel(run, found)
    with st.container(border=True):
        ridge_panel(run)
left, right = st.columns(2)
with left, st.container(border=True, height="stretch"):
    removal_panel(run)
with right, st.container(border=True, height="stretch"):
    truth_panel(run)
with st.container(border=True):
    cost_panel(found)
with st.container(border=True):
    choose_by_picture(run, method, test_idx)
take_away(
    f"evidence_{run.info.name}",
    f"{run.info.name}: evidence",
    lambda: views.board_table(found),
    run=run.info.name,
    test=test_idx,
    method=run.method_titles[method],
)
