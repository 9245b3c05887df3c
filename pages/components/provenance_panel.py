"""Behind a run: what it was made from, whether it is whole, and taking it away as one file."""

import tempfile
from pathlib import Path

import pandas as pd
import streamlit as st

from pages.components.background_button import background_button
from pages.components.runs import is_busy
from pages.components.text import plain, told
from pages.components.view import Table, note
from trak_core.errors import TrakCoreError
from trak_core.evidence.verification import verify_apart
from trak_core.folders import exports_dir
from trak_core.store.archive import export_run, run_bytes
from trak_core.store.run import Run
from trak_core.views.provenance import checkpoints_table, metadata_table, methods_table, sizes_table

LARGEST_MB = 200
"""Of a run file that goes out through the browser; the server holds it in memory meanwhile."""
_FORMATS = {
    "megabytes": st.column_config.NumberColumn(format="%.1f"),
    "training accuracy": st.column_config.NumberColumn(format="percent"),
    "test accuracy": st.column_config.NumberColumn(format="percent"),
    "CPU seconds": st.column_config.NumberColumn(format="%.1f"),
    "calibration": st.column_config.NumberColumn(format="%.4g"),
}


def provenance_panel(run: Run) -> None:
    """Tables of what a run was made from, its checks, and its file."""
    left, right = st.columns([3, 2])
    with left:
        _table("What it was made from", metadata_table(run))
    with right:
        with st.container(border=True):
            _export_panel(run)
        with st.container(border=True):
            _verify_panel(run)
        _table("What it takes up on disk", sizes_table(run.path))
    _table("Checkpoints: models trained on all training examples", checkpoints_table(run))
    _table("Methods, and what they chose", methods_table(run))


def _table(title: str, table: pd.DataFrame) -> None:
    note(title, Table(title, table))
    st.markdown(f"**{title}**")
    st.dataframe(table, column_config=_FORMATS, hide_index=True, placeholder="", key=title)


def _export_panel(run: Run) -> None:
    st.markdown("**Export run**", help="Scores, evidence, models and reviews: everything that pages show.")
    name = f"{run.info.name}.zip"
    size = run_bytes(run.path)
    if size > LARGEST_MB * 1_000_000:
        target = exports_dir() / name
        st.caption(plain(f"The run has {size / 1e6:,.0f} MB, too many for a browser. Here it is written to {target}."))
        background_button(
            "Write the run file",
            key=f"export {run.path} {run.generation}",
            arguments=["export", str(run.path), str(target), "--force"],
            doing="Writing the run file",
            done=f"The run file is {target}.",
            icon=":material/archive:",
            prepare=lambda: target.parent.mkdir(parents=True, exist_ok=True),
        )
        return
    st.download_button(
        f"Run file ({size / 1e6:,.1f} MB)",
        data=lambda: _packed(run.path),
        file_name=name,
        mime="application/zip",
        on_click="ignore",
        icon=":material/archive:",
        help="One file that any explorer opens, under “Open a run file”.",
    )
    if is_busy(run):
        st.caption("The run is being built or measured: the file holds what is published so far.")


def _packed(run_dir: Path) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        return export_run(run_dir, Path(directory) / "run.zip").read_bytes()


def _verify_panel(run: Run) -> None:
    st.markdown("**Check integrity**", help="Reads every table to its end and computes again what can be.")
    done = f"verified {run.path} {run.generation}"
    if st.button("Check this run", icon=":material/fact_check:"):
        with st.spinner("Reading every table; this takes some seconds …"):
            try:
                st.session_state[done] = verify_apart(run.path)
            except TrakCoreError as error:
                st.error(f"The run could not be checked: {told(error)}", icon=":material/error:")
    checks = st.session_state.get(done, [])
    for check in checks:
        icon = ":green[:material/check:]" if check.ok else ":red[:material/close:]"
        st.markdown(f"{icon} {'holds' if check.ok else 'fails'}: {plain(check.name)}")
        if check.detail:
            st.text(check.detail)
