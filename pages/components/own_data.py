"""Building from a person's own data: where they lie, how they are read, what is in them, and the model."""

from pathlib import Path
from typing import Any

import streamlit as st

from pages.components.data_check import checked_report, is_checking, show_check, start_check
from pages.components.run_names import free_name, name_and_seed, new_run_dir
from pages.components.run_panels import say
from pages.components.runs import launcher
from pages.components.text import plain
from trak_core.datasets.own_data import DataKind, OwnData
from trak_core.datasets.uploads import keep_upload
from trak_core.errors import TrakCoreError
from trak_core.folders import sources_dir
from trak_core.subjects.custom_data import MAX_MINUTES
from trak_core.views.own_data import KIND_TITLES, columns_of, likely_column, models_for, typed_path

__all__ = ["own_data_panel"]

_PATHS = {
    "image-folder": ("Folder or zip file", "/home/me/pictures", "A folder for each class, with its images in it."),
    "table": ("File", "/home/me/reviews.csv", "CSV, TSV, JSON lines or Parquet, also packed with gzip: a row a text."),
    "image-arrays": ("File or folder", "/home/me/images.npz", "An .npz file, or a folder of idx or CIFAR-10 files."),
    "hf-dataset": ("Folder", "/home/me/imdb", "What `save_to_disk` wrote, or the Parquet files of a data set."),
}
"""For each kind: what its path is of, an example, and what it holds."""
_UPLOADS = {
    "image-folder": ["zip"],
    "table": ["csv", "tsv", "tab", "txt", "jsonl", "ndjson", "json", "parquet", "pq", "gz"],
    "image-arrays": ["npz"],
}
_TONES = {"as they are": None, "grey": 1, "in colour": 3}
USUAL = "the one that usually suits"
NO_SPLIT = ""
_KEPT = "own data kept"
_PROBLEM = "own data problem"


def own_data_panel() -> None:
    """The form for a build from own data: first their report, then the build."""
    kind: DataKind = st.selectbox(
        "What do you have?", list(KIND_TITLES), format_func=KIND_TITLES.__getitem__, key="own kind"
    )
    _place(kind)
    path = _typed()
    options, is_ready = _reading_options(kind, path)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        model = _choose_model(kind, bool(options.get("image")))
        with st.container(width=150):
            st.number_input(
                "Minutes",
                min_value=1,
                max_value=MAX_MINUTES,
                value=10,
                step=5,
                key="own minutes",
                help="That the whole build may take. More minutes train more models, and the evidence gets surer.",
            )
    source = _source(kind, path, options) if is_ready else None
    suggested = free_name(source.usual_name if source else kind)
    name_and_seed(suggested)
    _check_and_build(source, model, suggested)


# --- where they lie -------------------------------------------------------------------------------------------


def _place(kind: DataKind) -> None:
    label, example, holds = _PATHS[kind]
    st.text_input(
        f"{label} on this machine",
        key="own path",
        placeholder=example,
        max_chars=4000,
        autocomplete="off",
        help="The path as a terminal would take it. The data stay where they are; a run holds a copy of what it shows.",
    )
    st.caption(holds)
    if kind not in _UPLOADS:
        return
    with st.expander("Upload instead", icon=":material/upload:"):
        st.file_uploader(
            "Zip of an image folder" if kind == "image-folder" else "File",
            type=_UPLOADS[kind],
            key=f"own upload {kind}",
            on_change=_keep,
            args=(kind,),
        )
        if kept := st.session_state.get(_KEPT):
            st.caption(f"Kept as {plain(kept)}; delete it there once no build needs it.")


def _typed() -> Path | None:
    try:
        return typed_path(str(st.session_state["own path"] or ""))
    except TrakCoreError as error:
        st.error(plain(_sentence(error)), icon=":material/error:")
        return None


def _keep(kind: DataKind) -> None:
    """Keeps an upload beside the runs, and puts its path where paths are typed."""
    file = st.session_state.get(f"own upload {kind}")
    st.session_state.pop(_PROBLEM, None)
    if file is None:
        return
    try:
        kept = str(keep_upload(file, file.name, sources_dir()))
    except TrakCoreError as error:
        st.session_state[_PROBLEM] = str(error)
        return
    st.session_state["own path"] = st.session_state[_KEPT] = kept


# --- how they are read ----------------------------------------------------------------------------------------


def _reading_options(kind: DataKind, path: Path | None) -> tuple[dict[str, Any], bool]:
    """The options of reading as chosen, and whether there are all that are needed."""
    if kind in ("image-folder", "image-arrays"):
        return (_image_options() if kind == "image-folder" else {}), path is not None
    options: dict[str, Any] = {}
    if kind == "table":
        with st.expander("Where the file is unusual", icon=":material/tune:"), st.container(horizontal=True):
            options["no_header"] = not st.toggle("The first row names the columns", value=True, key="own header")
            encoding = st.text_input("Encoding", key="own encoding", placeholder="utf-8", max_chars=40)
            options["encoding"] = str(encoding or "").strip() or None
    if path is None:
        return options, False
    try:
        columns = columns_of(kind, path, not options.get("no_header"), options.get("encoding"))
    except TrakCoreError as error:
        st.error(plain(_sentence(error)), icon=":material/error:")
        return options, False
    options |= _columns(kind, columns)
    return options, bool(options["label"] and (options.get("text") or options.get("image")))


def _image_options() -> dict[str, Any]:
    with st.container(horizontal=True):
        size = st.number_input(
            "Pixels a side",
            min_value=1,
            max_value=512,
            value=None,
            step=8,
            key="own size",
            placeholder="as they are",
            help="All images are brought to it. Left empty, they keep the size that all have, or get 64 at most.",
        )
        tones = st.selectbox("Tones", list(_TONES), key="own tones")
    return {"size": None if size is None else int(size), "channels": _TONES[tones]}


def _columns(kind: DataKind, columns: list[str]) -> dict[str, Any]:
    with st.container(horizontal=True):
        is_image = False
        if kind == "hf-dataset":
            is_image = st.selectbox("Examples are", ["texts", "images"], key="own examples") == "images"
        content = _column("Column of images" if is_image else "Column of texts", columns, "text", is_image)
        label = _column("Column of labels", columns, "label")
    chosen: dict[str, Any] = {"image" if is_image else "text": content, "label": label}
    if kind == "table":
        split = st.selectbox(
            "Column that says train or test",
            [NO_SPLIT, *columns],
            format_func=lambda name: name or "none: a fifth is put aside for testing",
            key=f"own split {columns}",
            index=_index(columns, "split") or 0,
        )
        chosen["split"] = split or None
    return chosen


def _column(title: str, columns: list[str], what: str, is_image: bool = False) -> str | None:
    index = _index(columns, what)
    # The key holds the columns: another file has others, and a choice among those would mean nothing there.
    return st.selectbox(
        title,
        columns,
        index=None if index is None or is_image else index - 1,
        placeholder="choose",
        key=f"own {what} {is_image} {columns}",
    )


def _index(columns: list[str], what: str) -> int | None:
    """The place of the likely column, counted from 1."""
    found = likely_column(columns, what)
    return None if found is None else 1 + columns.index(found)


def _choose_model(kind: DataKind, takes_images: bool) -> str | None:
    """The name of a ready model; None to leave it to the build."""
    models = {model.name: model for model in models_for(kind, takes_images)}
    name = st.selectbox(
        "Model",
        [USUAL, *models],
        format_func=lambda name: name if name == USUAL else f"{name}: {models[name].title}",
        key=f"own model {', '.join(models)}",
    )
    return None if name == USUAL else name


def _source(kind: DataKind, path: Path | None, options: dict[str, Any]) -> OwnData | None:
    if path is None:
        return None
    try:
        return OwnData(kind, path, seed=int(st.session_state.get("new seed") or 0), **options)
    except TrakCoreError as error:
        st.error(plain(_sentence(error)), icon=":material/error:")
        return None


# --- check, then build ----------------------------------------------------------------------------------------


def _check_and_build(source: OwnData | None, model: str | None, suggested: str) -> None:
    report = None if source is None else checked_report(source)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Check again" if report else "Check the data",
            type="secondary" if report else "primary",
            icon=":material/fact_check:",
            disabled=source is None or is_checking(source),
            on_click=start_check,
            args=(source,),
            help="Reads everything and says what is in it, before anything is trained.",
        )
        if report is not None:
            st.button(
                "Build", type="primary", icon=":material/play_arrow:", on_click=_build, args=(source, model, suggested)
            )
    if problem := st.session_state.pop(_PROBLEM, None):
        st.error(plain(_sentence(problem)), icon=":material/error:")
    if source is not None:
        show_check(source, report)


def _build(source: OwnData, model: str | None, suggested: str) -> None:
    try:
        run_dir = new_run_dir(suggested)
    except TrakCoreError as error:
        st.session_state[_PROBLEM] = str(error)
        return
    minutes, seed = int(st.session_state["own minutes"]), int(st.session_state["new seed"])
    asked = ["--name", run_dir.name, "--minutes", str(minutes), "--seed", str(seed)]
    if model is not None:
        asked += ["--model", model]
    launcher().start(run_dir, ["build", *source.words(), *asked])
    st.session_state["new name"] = ""
    say(f"“{plain(run_dir.name)}” is being built; it can be looked at as soon as it has scores.", ":material/info:")


def _sentence(error: object) -> str:
    said = str(error)
    return said[:1].upper() + said[1:]
