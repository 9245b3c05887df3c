"""Evidence: do the scores predict what happens when models are retrained on other data?"""

from typing import Any

import streamlit as st
from pandas import DataFrame

from pages.components import charts
from pages.components.address import choose_method, choose_test, go_to_test
from pages.components.board_charts import lds_histogram, methods_chart
from pages.components.evidence_to_come import evidence_to_come_panel
from pages.components.export import take_away
from pages.components.gallery import GalleryItem, gallery, labelled
from pages.components.judging import judging_panel
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
    stopped_build_panel,
    test_overview,
)
from pages.components.text import for_page, lds_in_words, plain, told
from pages.components.verdict import LDS_HELP, headline
from pages.components.view import Words, note, say
from trak_core.store.progress import read_status
from trak_core.store.run import Run
from trak_core.store.targets import DEFAULT
from trak_core.views import evidence as views
from trak_core.views.evidence_to_come import evidence_to_come
from trak_core.views.examples import read_examples
from trak_core.views.explanation import lds_of
from trak_core.views.fit import other_class_sentence, predicted_against_actual
from trak_core.views.lds_causes import (
    Cause,
    checkpoints_title,
    lds_by_ridge,
    lds_causes,
    no_cause,
    ridge_note,
    why_title,
)
from trak_core.views.not_measured import (
    lacks_measurements,
    notes_of,
    what_is_left_to_measure,
    what_was_not_measured,
    why_no_evidence,
    why_no_fixed_truths,
)
from trak_core.views.stories import first_test
from trak_core.views.verdict import verdict

through_app()

N_ENDS = 12
KIND_WIDTH = 105
FORMATS = {
    "LDS": "%.3f",
    "from": "%.3f",
    "to": "%.3f",
    "share of ceiling": "percent",
    "fixed counts: LDS": "%.3f",
    "fixed: from": "%.3f",
    "fixed: to": "%.3f",
    "fixed: share of its ceiling": "percent",
    "checkpoints": "%d",
    "CPU seconds": "%.1f",
    "memory (MB)": "%.0f",
}


def number_columns(formats: dict[str, str]) -> dict[str, Any]:
    return {name: st.column_config.NumberColumn(format=form) for name, form in formats.items()}


def method_panel(found: views.Board) -> None:
    """LDS of every method as a figure and as a table."""
    st.markdown("**Methods**: the further right, the better predicted", help=LDS_HELP)
    charts.show(methods_chart(found), "methods", f"LDS by method: {views.board_in_words(found)}")
    apart = " that no setting was chosen on" if found.n_reported < found.n_test else ""
    models = f"{found.n_seeds} models" if found.n_seeds > 1 else "one model"
    ceiling = ""
    if found.noise_ceiling:
        ceiling = (
            " The noise ceiling is the highest LDS that any method can reach, because models trained on one half with "
            "other seeds differ among themselves."
        )
    controls = " Purple: negative controls, simple rules that attribution has to beat." if found.has_controls else ""
    st.caption(
        f"Measured over {found.n_subsets} halves with {models} each and {found.n_reported} test examples{apart}."
        f"{ceiling} Grey: baselines.{controls}"
    )
    if found.slope is not None:
        others = f" and as {found.slope_of_others:.2f} for other classes" if found.slope_of_others is not None else ""
        st.caption(f"Calibration: a change predicted as 1 came true as {found.slope:.2f} for labels{others}.")


def cost_panel(found: views.Board) -> None:
    """Every method with its interval and its cost, and what could not be measured."""
    st.markdown("**Accuracy and cost**", help="CPU seconds of all processor cores together.")
    st.dataframe(
        views.as_shown(views.board_table(found)).dropna(axis="columns", how="all"),
        column_config={
            "method": st.column_config.Column(pinned=True),
            "kind": st.column_config.Column(width=KIND_WIDTH),
            **number_columns(FORMATS),
        },
        hide_index=True,
        placeholder="",
    )
    for method, reason in found.left_out.items():
        st.text(f"Not measured: {method}. {for_page(reason)}")
    if found.n_diverged:
        st.text(
            f"{found.n_diverged} random halves, subsets or removals were skipped, because a model of them diverged."
        )


def measure_panel(run: Run, found: views.Board | None = None) -> None:
    """Offers to measure the methods that the run does not have yet."""
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch", gap="xsmall"):
            title, caption = what_is_left_to_measure(run, found)
            st.markdown(f"**{title}**")
            st.caption(caption)
            begun = read_status(run.path)
            if problem := builds().failure(run.path) or (begun.message if begun else None):
                st.text(for_page(problem))
        st.button(
            "Go on measuring" if begun else "Measure every method",
            on_click=builds().start_build,
            args=(run.path, begun.command if begun and begun.command else ["evidence", run.info.name]),
            icon=":material/science:",
        )


def removal_panel(run: Run, curves: list[views.RemovalCurve]) -> None:
    """What happens when the strongest proponents are taken away and models are trained again."""
    st.markdown(
        "**Remove the top examples**: does the answer change?",
        help="The training examples with the highest scores for a test example are removed, and models are retrained "
        "without them, with the same seeds. The further the margin falls, the better the method found what the answer "
        "leans on.",
    )
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


def truth_panel(run: Run, table: DataFrame) -> None:
    """LDS against other questions: less data dropped, and one very model instead of the average over seeds."""
    st.markdown(
        "**LDS for smaller removals**",
        help="One model: the training of one checkpoint repeated with the same seed and batches, where the dropped "
        "examples count for nothing. Several seeds: models retrained on what is left, averaged. Fixed counts: LDS at "
        "fixed class counts.",
    )
    st.dataframe(
        views.as_shown(table),
        column_config={
            "method": st.column_config.Column(pinned=True),
            **{name: st.column_config.NumberColumn(truth_label(name), format="%.3f") for name in table.columns[1:]},
        },
        hide_index=True,
        placeholder="",
    )
    if words := ceilings_in_words(run):
        fixed = ceilings_in_words(run, at_fixed_counts=True)
        at_fixed = f"; at fixed class counts {fixed}" if fixed else ""
        st.caption(f"Noise ceilings for several seeds: {words}{at_fixed}. One model alone has no noise.")
    if why := why_no_fixed_truths(run):
        st.caption(plain(why))


def truth_label(name: str) -> str:
    """The heading of a column of `truth_table`: at fixed counts it stands behind the one that it belongs to."""
    return "fixed counts" if name.endswith(views.AT_FIXED) else name


def ceilings_in_words(run: Run, at_fixed_counts: bool = False) -> str:
    """The noise ceilings of further truths, by what is dropped."""
    ceilings = views.truth_ceilings(run, at_fixed_counts)
    return ", ".join(f"{ceiling:.2f} with {dropped:.0%} dropped" for dropped, ceiling in ceilings.items())


def example_panel(run: Run, method: str, test_idx: int) -> float | None:
    """Prediction against actual outcomes of one test example; returns its LDS, None where undefined."""
    fit, found = predicted_against_actual(run, test_idx, method), lds_of(run, method, test_idx, DEFAULT)
    example = read_examples(run, "test", [test_idx])[0]
    tip = "One point a random half of the training data."
    whose = "margin of its label" if run.info.has_classes else "its model output"
    st.markdown(f"**One test example**: predicted against retrained, {whose}", help=tip)
    with st.container(horizontal=True, vertical_alignment="center"):
        show_media(example.media, 72, f"test example {test_idx}", show_short_text)
        with st.container(width="stretch", gap="xsmall"):
            st.text(f"Test example {test_idx}, {labelled(example)}")
            if fit.lds is None or fit.ci_low is None or fit.ci_high is None:
                st.text("LDS undefined: the retrained models say the same for every half.")
            else:
                st.text(lds_in_words(fit.lds, found.noise_ceiling, fit.ci_low, fit.ci_high))
            if found.lds_fixed is not None:
                fixed = lds_in_words(found.lds_fixed, found.fixed_ceiling, found.fixed_low, found.fixed_high)
                st.text(f"At fixed class counts: {fixed}")
            if other := other_class_sentence(run, test_overview(run), test_idx, method):
                st.caption(plain(other))
            link_to(
                EXPLORE, "Open in Explore", "search", run=run.info.name, test=test_idx, method=run.method_titles[method]
            )
    charts.show(
        charts.fit_chart(fit),
        "fit",
        f"Prediction against actual outcome of test example {test_idx} over retrained halves",
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


def checkpoints_panel(found: views.Board) -> None:
    """LDS against the number of checkpoints, under a title that says what it shows."""
    tip = "LDS of the run's own method when scores are averaged over fewer checkpoints, with 95% intervals."
    title = checkpoints_title(found)
    st.markdown(f"**{title}**", help=tip)
    charts.show(charts.checkpoints_chart(found), "checkpoints", f"LDS against number of checkpoints. {title}")


def ridge_panel(tried: dict[float, float]) -> None:
    """LDS of the run's own method against the ridge."""
    st.markdown(
        "**The ridge that was chosen**",
        help="The ridge keeps the kernel from trusting directions in which gradients hardly differ. It was chosen on "
        "subsets and test examples that nothing is reported on.",
    )
    charts.show(charts.ridge_chart(tried), "ridge", "LDS on fitting subsets against the ridge")
    if said := ridge_note(tried):
        say("ridge note", said, st.caption)


def why_panel(run: Run, found: views.Board, is_believed: bool) -> None:
    """What keeps LDS down, as far as the run's data shows it; nothing where the run has no LDS to be proud of."""
    causes = lds_causes(run, found)
    if not causes and not is_believed:
        return
    with st.container(border=True):
        _show_causes(run, found, causes)


def _show_causes(run: Run, found: views.Board, causes: list[Cause]) -> None:
    st.markdown(f"**{why_title(run, found)}**", help="Causes that the data of this run shows; nothing is guessed.")
    if not causes:
        st.caption(no_cause(run, found))
    for cause in causes:
        st.markdown(f"**{plain(cause.title)}**: {plain(cause.text)}")
        note(f"cause {cause.title}", Words(f"{cause.title}: {cause.text}"))


def further_panels(run: Run) -> None:
    """Removal and further truths, as far as they were measured."""
    curves, table = views.removal_curves(run), views.truth_table(run)
    if curves:
        with st.container(border=True):
            removal_panel(run, curves)
    if not table.empty:
        with st.container(border=True):
            truth_panel(run, table)
    if missing := what_was_not_measured(bool(curves), not table.empty):
        st.caption(missing)


run = run_with_scores()
learnt_panel(run)
if not run.has_lds and not run.will_have_lds:
    to_come = evidence_to_come(run)
    why_not = (
        "Trust could not be measured" if run.info.provenance["n_subsets"] else "Nothing was retrained for this run"
    )
    st.subheader("Trust is not measured yet" if to_come else why_not, anchor=False)
    if to_come:
        evidence_to_come_panel(run, to_come)
        refresh_when_published(run)
    else:
        st.text(for_page(why_no_evidence(run)))
    if not to_come and not is_busy(run) and can_be_measured(run):
        measure_panel(run)
    st.stop()
if not run.has_lds:
    st.subheader("The evidence is not there yet", anchor=False)
    if is_busy(run):
        st.write(
            "Models are being retrained on random halves of the training data. This page shows what came out as soon "
            "as they are done; nothing needs to be reloaded."
        )
    else:
        stopped_build_panel(run, "Trust is measured by models retrained on random halves, once the build goes on.")
    refresh_when_published(run)
    st.stop()

found = views.board(run)
said = verdict(run, test_overview(run), found)
headline(found, said)
for sentence in notes_of(run):
    st.caption(told(sentence))
if is_busy(run):
    refresh_when_published(run)
else:
    if to_come := evidence_to_come(run):
        evidence_to_come_panel(run, to_come)
    if lacks_measurements(found) and can_be_measured(run):
        measure_panel(run, found)
left, right = st.columns(2)
with left:
    with st.container(border=True):
        method_panel(found)
    if len(found.by_checkpoints) > 1:
        with st.container(border=True):
            checkpoints_panel(found)
    if tried := lds_by_ridge(run):
        with st.container(border=True):
            ridge_panel(tried)
with right:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            test_idx = choose_test(run, default=first_test(run, test_overview(run)))
            method = choose_method(run, width=210)
        chosen = example_panel(run, method, test_idx)
    with st.container(border=True):
        st.markdown("**LDS of every test example**", help="How many test examples are predicted how well.")
        values, fixed = views.lds_values(run, method)
        alt = f"Histogram of LDS over {len(values)} test examples"
        charts.show(lds_histogram(values.tolist(), fixed.tolist(), chosen), "lds", alt)
    why_panel(run, found, said.is_good)
further_panels(run)
with st.container(border=True):
    cost_panel(found)
judging_panel(run)
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
