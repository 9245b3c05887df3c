"""Two explanations side by side: a method of this run against a method of this or of another run."""

import streamlit as st

from pages.components.address import choose_method, choose_test, go_to_test, put_right
from pages.components.charts import BLUE, GREY, new_figure, show
from pages.components.gallery import GalleryItem, gallery, named
from pages.components.pages import EXPLORE, link_to
from pages.components.runs import kept_per_run, open_cached
from pages.components.text import plain, told
from pages.components.view import Table, Words, note, say
from trak_core.errors import TrakCoreError
from trak_core.folders import runs_dir
from trak_core.store.catalog import published_runs
from trak_core.store.run import Run
from trak_core.views import compare
from trak_core.views.examples import read_examples

N_WORST = 12
NAMES_WIDTH = 290
"""Of the column that says what a row of "Side by side" is, in pixels: its longest name is seen whole."""
RANK_HELP = (
    "Spearman correlation, over all training examples, of the two rows of scores of one test example. 1: the same "
    "order. 0: no relation. -1: the reverse."
)


@kept_per_run(max_entries=64, spinner="Comparing the scores …")
def _agreement(run: Run, other: Run, method: str, other_method: str) -> compare.Agreement | None:
    """None where the data differ, so that scores are about different examples."""
    return compare.agreement(run, method, other, other_method) if compare.have_same_data(run, other) else None


def choose_sides(run: Run) -> tuple[str, Run, str]:
    """The method of this run, the other run, and its method; stops with a sentence when the other cannot be opened."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        method = choose_method(run, width=260)
        name = _choose_other_run(run)
        try:
            other = run if name == run.info.name else open_cached(runs_dir() / name)
        except TrakCoreError as error:
            st.error(f"The other run cannot be opened: {told(error)}", icon=":material/error:")
            st.stop()
        return method, other, _choose_other_method(run, method, other)


def _choose_other_run(run: Run) -> str:
    names = [path.name for path in published_runs()]
    names = names if run.info.name in names else [run.info.name, *names]  # deleted a moment ago
    asked = st.query_params.get("other")
    held = st.session_state.get("other")
    if held is not None and held not in names:  # deleted since it was chosen
        st.warning(f"There is no run “{plain(held)}” any more; this is the run itself.", icon=":material/link_off:")
        st.session_state["other"] = run.info.name
    elif asked is not None and asked not in names:
        put_right("other", f"There is no run “{plain(asked)}” to compare with; this is the run itself.")
    elif held is None and asked is None:
        st.session_state["other"] = run.info.name
    return str(st.selectbox("Against run", names, key="other", bind="query-params", width=220))


def _choose_other_method(run: Run, method: str, other: Run) -> str:
    titles = other.method_titles
    options = [titles[name] for name in other.info.methods]
    asked = st.query_params.get("other_method")
    held = st.session_state.get("other_method")
    if held is None and asked is not None and asked not in options:
        put_right("other_method", f"The other run has no method “{plain(asked)}”; another is shown.")
    if held not in options and asked not in options:
        # Against another run the same method says most; within a run, another one.
        same = other is not run and method in other.info.methods
        others = [name for name in other.info.methods if name != method]
        controls = compare.controls_of(other)
        different = min(others, key=lambda name: name in controls, default=method)  # the first that is no control
        st.session_state["other_method"] = titles[method if same else different]
    chosen = str(st.selectbox("Against method", options, key="other_method", bind="query-params", width=260))
    return other.info.methods[options.index(chosen)]


def compare_panel(run: Run, method: str, other: Run, other_method: str) -> compare.Agreement | None:
    """Everything that can be said of two sides; returns their agreement, None where the data differ."""
    found = _agreement(run, other, method, other_method)
    if found is not None:
        _headline(run, method, other, other_method, found)
    else:
        text = "These runs were made from different data: their scores are about different examples and not compared."
        note("headline", Words(text))
        st.info(text, icon=":material/info:")
    left, right = st.columns(2)
    with left, st.container(border=True, height="stretch"):
        st.markdown("**Side by side**", help="LDS: how well the scores predicted what retrained models say; 1 is best.")
        facts = compare.metadata_side_by_side(run, method, other, other_method)
        note("facts", Table("Side by side", facts))
        names = {"": st.column_config.Column(width=NAMES_WIDTH)}
        st.dataframe(facts, hide_index=True, key="facts", column_config=names)
        if other is run:
            st.caption("One and the same run: data, models and settings are equal.")
    if found is None:
        with right, st.container(border=True, height="stretch"):
            _settings(run, other)
        return None
    with right, st.container(border=True, height="stretch"):
        _scatter(found, run.method_titles[method])
    with st.container(border=True):
        _disagreements(run, method, other, other_method, found)
    if other is not run:
        with st.container(border=True):
            _settings(run, other)
    return found


def _headline(run: Run, method: str, other: Run, other_method: str, found: compare.Agreement) -> None:
    titles = [run.method_titles[method], other.method_titles[other_method]]
    if other is not run:
        titles = [f"{title} of {side.info.name}" for title, side in zip(titles, (run, other), strict=True)]
    mean = "" if found.mean_correlation is None else f" (rank correlation {found.mean_correlation:.2f} on average)"
    text = (
        f"{titles[0]} and {titles[1]} rank the training examples {found.in_words}{mean}; of the {found.k} strongest "
        f"proponents of a test example they share {found.mean_proponents:.1f}, of the opponents "
        f"{found.mean_opponents:.1f} (by chance: {found.by_chance:.1f})."
    )
    say("headline", text)
    if len(found.test_idx) < found.n_test:
        st.caption(
            f"Rank correlations are over {len(found.test_idx)} of {found.n_test:,} test examples, drawn at random."
        )


def _settings(run: Run, other: Run) -> None:
    settings = compare.differing_settings(run, other)
    st.markdown("**What differs in how they were made**")
    if settings.empty:
        st.caption("Nothing: the same recipe, seed, settings and versions.")
        return
    note("settings", Table("What differs in how they were made", settings))
    st.dataframe(settings, hide_index=True, key="settings")


def _scatter(found: compare.Agreement, title: str) -> None:
    st.markdown("**Does agreement go with evidence?**", help=RANK_HELP)
    measured = bool((found.lds == found.lds).any())
    titles = ("LDS of the first side", "rank correlation of the two", "test examples")
    title_x, title_y = titles[:2] if measured else titles[1:]
    figure = new_figure(380, title_x, title_y)
    if measured:
        worst = set(found.worst(N_WORST))
        figure.add_scatter(
            x=found.lds,
            y=found.rank_correlation,
            mode="markers",
            marker={
                "color": [GREY if place in worst else BLUE for place in range(len(found.lds))],
                "symbol": ["diamond-open" if place in worst else "circle" for place in range(len(found.lds))],
                "size": 8,
                "opacity": 0.8,
            },
            customdata=found.test_idx,
            hovertemplate="test example %{customdata}: LDS %{x:.2f}, rank correlation %{y:.2f}<extra></extra>",
        )
        caption = f"One point a test example. Diamonds: the {len(worst)} least agreed on, shown below."
    else:
        figure.add_histogram(x=found.rank_correlation, xbins={"start": -1, "end": 1, "size": 0.05}, marker_color=BLUE)
        caption = "The first side has no LDS to set it against."
    show(figure, "agreement", f"{title_y} against {title_x} over {len(found.test_idx)} test examples, for {title}")
    st.caption(caption)


def _disagreements(run: Run, method: str, other: Run, other_method: str, found: compare.Agreement) -> None:
    st.markdown("**Where they disagree most**: pick one to see both explanations", help=RANK_HELP)
    places = found.worst(N_WORST)
    if not places:
        st.caption("No test example has two orders to compare: one side gives the same score to all training examples.")
        return
    numbers = {int(found.test_idx[place]): float(found.rank_correlation[place]) for place in places}
    items = [
        GalleryItem(
            example,
            f"{named(example)}, rank correlation {numbers[example.idx]:.2f}",
            caption=f"{numbers[example.idx]:.2f}",
        )
        for example in read_examples(run, "test", list(numbers))
    ]
    chosen = choose_test(run, default=next(iter(numbers)))
    gallery("Least agreed on", items, key="disagreements", on_pick=go_to_test, selected=chosen, size=64, strip=True)
    correlation = compare.rank_correlation(run, method, other, other_method, chosen)
    said = "undefined" if correlation is None else f"{correlation:.2f}"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.text(f"Test example {chosen}: rank correlation {said}. Its explanation by")
        for side, name in ((run, method), (other, other_method)):
            title = side.method_titles[name]
            link_to(
                EXPLORE,
                plain(title if other is run else f"{title}, {side.info.name}"),
                "search",
                run=side.info.name,
                test=chosen,
                method=title,
            )
