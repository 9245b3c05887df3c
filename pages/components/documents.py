"""Whole documents on Explore: what each does to the question, and the way to ask what if one were gone."""

import streamlit as st

from pages.components.charts import document_chart, show
from pages.components.picks import replace_picks
from pages.components.runs import kept_per_run
from pages.components.text import plain
from trak_core.store.run import Run
from trak_core.views.documents import document_influence, documents_of
from trak_core.views.explanation import Explanation

documents = kept_per_run(max_entries=8)(documents_of)
_HELP = (
    "The scores of all training examples that came from one document, added up: what the whole document does to what "
    "is asked, as far as effects add up. Retraining without it tells."
)
MOST_DRAWN = 30


def documents_panel(run: Run, explanation: Explanation) -> None:
    """The documents of a run by their influence; nothing where a run has none."""
    members = documents(run)
    if not members:
        return
    found = document_influence(members, explanation.scores)
    with st.container(border=True):
        st.markdown(f"**Whole documents**: what all that came from one does, {len(found):,} documents", help=_HELP)
        drawn = found if len(found) <= MOST_DRAWN else [*found[: MOST_DRAWN // 2], *found[-MOST_DRAWN // 2 :]]
        show(document_chart(drawn), "documents", f"Sum of scores of {len(drawn)} documents")
        with st.container(horizontal=True, vertical_alignment="bottom"):
            by_name = {one.name: one for one in found}
            name = st.selectbox("Document", [*by_name], key="document", width=320)
            chosen = by_name[name]
            st.button(
                "What if it were gone?",
                icon=":material/layers_clear:",
                on_click=replace_picks,
                args=(chosen.train_idx.tolist(),),
                key="document_gone",
                help="Picks all its training examples; below, its removal is predicted and can be verified.",
            )
        st.caption(
            f"{plain(name)}: {chosen.score:+.3g} together, by {len(chosen.train_idx):,} training examples, "
            f"{chosen.n_for:,} of which speak for it."
        )
