"""Evidence: do the scores foretell what happens when models are retrained on other data?"""

import streamlit as st

from pages.components.address import choose_method, choose_test, go_to_test
from pages.components.charts import checkpoints_chart, fit_chart, lds_histogram, methods_chart, show
from pages.components.export import share_link
from pages.components.gallery import GalleryItem, gallery
from pages.components.pages import EXPLORE
from pages.components.routing import through_app
from pages.components.runs import current_run, refresh_when_published, test_overview
from trak_core.store.run import Run
from trak_core.views import Board, board, find_stories, lds_values, predicted_against_actual, ranked_by_lds, read_examples

through_app()

N_ENDS = 12
LDS_HELP = (
    "Linear datamodeling score: the Spearman correlation, over random halves of the training data, between the sum of the "
    "scores of a half and what a model retrained on it says. 1: the order is foretold perfectly. 0: chance."
)


def headline(found: Board) -> None:
    best = found.rows[0]
    ceiling = f" of at most {found.noise_ceiling:.2f}" if found.noise_ceiling else ""
    st.subheader("Can these scores be believed?", anchor=False)
    st.markdown(
        f"{found.n_models:,} models were retrained on random halves of the training data. **{best.title} foretold what they "
        f"would say with LDS {best.lds:.2f}**{ceiling} (95% interval {best.ci_low:.2f} to {best.ci_high:.2f}).",
        help=LDS_HELP,
    )


def method_panel(found: Board) -> None:
    st.markdown("**Methods**: the further right, the better foretold", help=LDS_HELP)
    titles = ", ".join(f"{row.title} {row.lds:.2f}" for row in found.rows if row.lds is not None)
    show(methods_chart(found), "methods", f"LDS by method: {titles}")
    st.dataframe(
        [
            {
                "method": row.title,
                "LDS": row.lds,
                "from": row.ci_low,
                "to": row.ci_high,
                "share of ceiling": row.share,
                "CPU seconds": row.seconds,
            }
            for row in found.rows
        ],
        column_config={
            name: st.column_config.NumberColumn(format=form)
            for name, form in (
                ("LDS", "%.3f"), ("from", "%.3f"), ("to", "%.3f"), ("share of ceiling", "percent"), ("CPU seconds", "%.2f"),
            )
        },
        hide_index=True,
    )
    st.caption(
        f"Measured over {found.n_subsets} halves with {found.n_seeds} models each. The noise ceiling is the highest LDS that "
        "any method can reach, because models trained on one half with other seeds differ among themselves. Grey: baselines."
    )
    if found.slope is not None:
        st.caption(f"Calibration: a change foretold as 1 came true as {found.slope:.2f}, over all test examples.")


def choose_by_picture(run: Run, method: str, test_idx: int) -> None:
    for title, idxs in zip(("Best foretold", "Least well foretold"), ranked_by_lds(run, method, N_ENDS), strict=True):
        st.caption(title)
        lds = run.lds(method).per_test
        items = [
            GalleryItem(
                example, f"test example {example.idx}, LDS {lds[example.idx]:.2f}", caption=f"{lds[example.idx]:.2f}"
            )
            for example in read_examples(run, "test", idxs)
        ]
        gallery(title, items, key=title, on_pick=go_to_test, selected=test_idx, size=40, strip=True)


def example_panel(run: Run, method: str, test_idx: int) -> None:
    fit = predicted_against_actual(run, test_idx, method)
    example = read_examples(run, "test", [test_idx])[0]
    st.markdown("**One test example**: foretold against retrained", help="One point a random half of the training data.")
    with st.container(horizontal=True, vertical_alignment="center"):
        if example.thumbnail:
            st.image(example.thumbnail, width=72, alt=f"test example {test_idx}")
        with st.container(width="stretch", gap="xsmall"):
            st.text(f"Test example {test_idx}, label {example.label_name}")
            if fit.lds is None or fit.ci_low is None or fit.ci_high is None:
                st.text("LDS undefined: the scores foretell the same for every half.")
            else:
                st.text(f"LDS {fit.lds:.2f} (95% interval {fit.ci_low:.2f} to {fit.ci_high:.2f})")
            st.page_link(
                EXPLORE, label="Open in Explore", icon=":material/search:",
                query_params={"run": run.info.name, "test": str(test_idx)},
            )
    show(fit_chart(fit), "fit", f"Foretold against actual margin of test example {test_idx} over retrained halves")


run = current_run()
if not run.has_lds:
    st.subheader("The evidence is not there yet", anchor=False)
    st.write(
        "Models are being retrained on random halves of the training data. This page shows what came out as soon as they "
        "are done; nothing needs to be reloaded. If the build was stopped, “Go on” on the Home page continues it."
    )
    refresh_when_published(run)
    st.stop()

found = board(run)
headline(found)
left, right = st.columns([1, 1])
with left, st.container(border=True):
    method_panel(found)
with right, st.container(border=True):
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container(width=170):
            test_idx = choose_test(run, default=find_stories(run, test_overview(run))[0].test_idx)
        with st.container(width=210):
            method = choose_method(run, run.method_titles)
    example_panel(run, method, test_idx)
left, right = st.columns([1, 1])
with left, st.container(border=True, height="stretch"):
    st.markdown("**LDS of every test example**", help="How many test examples are foretold how well.")
    values = lds_values(run, method)
    chosen = run.lds(method).per_test[test_idx]
    show(lds_histogram(values.tolist(), chosen), "lds", f"Histogram of LDS over {len(values)} test examples")
with right, st.container(border=True, height="stretch"):
    st.markdown(
        "**More checkpoints, better scores**",
        help="LDS of the run's own method when scores are averaged over fewer checkpoints.",
    )
    show(checkpoints_chart(found), "checkpoints", "LDS against number of checkpoints")
with st.container(border=True):
    choose_by_picture(run, method, test_idx)
share_link(run=run.info.name, test=test_idx, method=run.method_titles[method])
