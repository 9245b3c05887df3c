"""Building from custom data: where they lie, how they are read, what is in them, and the model."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from pages.components.forecast import show_forecast
from pages.components.jobs import background_jobs, watch_job
from pages.components.media import show_media
from pages.components.new_run import free_name, name_and_seed, new_run_dir
from pages.components.run_panels import FORM, say
from pages.components.runs import builds, place_in_line
from pages.components.text import for_page, plain
from pages.components.view import show_error
from trak_core.datasets.custom_data import CustomData
from trak_core.datasets.kinds import DATA_KINDS, DataKind
from trak_core.datasets.options import Option
from trak_core.datasets.report import DataReport
from trak_core.datasets.uploads import keep_upload
from trak_core.errors import TrakCoreError
from trak_core.folders import sources_dir
from trak_core.modalities import MODALITIES
from trak_core.subjects.custom_data import MAX_MINUTES
from trak_core.views.custom_data import columns_of, typed_path
from trak_core.views.data_report import (
    class_table,
    findings_of,
    pictured_samples,
    read_report,
    report_sentences,
    sample_table,
)

USUAL = "Automatic"
NO_COLUMN = ""
MAX_NUMBER = 1024
NUMBER_WIDTH = 190
"""Of a field for a number, in pixels: what stands in it while it is empty is seen whole beside its two buttons."""
_KEPT = "custom data kept"
_PROBLEM = "custom data problem"
_CHECK = "data check"
_REPORT = "data report"
SAMPLE_WIDTH = 92
TABLE_HEIGHT = 300
MANY_ROWS = 10


def custom_data_panel() -> None:
    """The form for a build from custom data: first their report, then the build."""
    name = st.selectbox(
        "What do you have?", list(DATA_KINDS), format_func=lambda name: DATA_KINDS[name].title, key="data kind"
    )
    kind = DATA_KINDS[name]
    _place(kind)
    path = _typed()
    options, is_ready = _reading_options(kind, path)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        model = _choose_model(kind.modality(options))
        tip = "That the whole build may take. Suspects and scores come first, and trust is measured in what is left."
        minutes = st.number_input(
            "Minutes",
            min_value=0.1,
            max_value=float(MAX_MINUTES),
            value=10.0,
            step=1.0,
            format="%g",
            key="data minutes",
            width=150,
            help=tip,
        )
    source = _source(kind, path, options) if is_ready else None
    if source is not None and _checked_report(source) is not None:
        show_forecast(_words(source), model, minutes)
    suggested = free_name(source.usual_name if source else kind.name)
    name_and_seed(suggested)
    st.session_state[FORM] = _form_words(source, model) if source is not None else None
    _check_and_build(source, model, suggested)


# --- where they lie -------------------------------------------------------------------------------------------


def _place(kind: DataKind) -> None:
    st.text_input(
        f"{kind.path_title} on this machine",
        key="data path",
        placeholder=kind.path_example,
        max_chars=4000,
        autocomplete="off",
        help="The path as a terminal would take it. The data stay where they are; a run holds a copy of what it shows.",
    )
    st.caption(kind.path_caption)
    if not kind.uploads:
        return
    with st.expander("Upload instead", icon=":material/upload:"):
        st.file_uploader(
            kind.upload_title, type=list(kind.uploads), key=f"data upload {kind.name}", on_change=_keep, args=(kind,)
        )
        if kept := st.session_state.get(_KEPT):
            st.caption(f"Kept as {plain(kept)}; delete it there once no build needs it.")


def _typed() -> Path | None:
    try:
        return typed_path(str(st.session_state["data path"] or ""))
    except TrakCoreError as error:
        show_error(error)
        return None


def _keep(kind: DataKind) -> None:
    """Keeps an upload beside the runs, and puts its path where paths are typed."""
    file = st.session_state.get(f"data upload {kind.name}")
    st.session_state.pop(_PROBLEM, None)
    if file is None:
        return
    try:
        kept = str(keep_upload(file, file.name, sources_dir()))
    except TrakCoreError as error:
        st.session_state[_PROBLEM] = str(error)
        return
    st.session_state["data path"] = st.session_state[_KEPT] = kept


# --- how they are read ----------------------------------------------------------------------------------------


def _reading_options(kind: DataKind, path: Path | None) -> tuple[dict[str, Any], bool]:
    """The options of reading as chosen, and whether there are all that are needed."""
    fields = [option for option in kind.options if option.title and not option.is_column]
    if kind.preview is None:
        with st.container(horizontal=True):
            return {option.name: _field(option) for option in fields}, path is not None
    options: dict[str, Any] = {}
    # How a file is to be read, before its columns are known. What is done to images is left to the command line here.
    if unusual := [option for option in fields if option.values in (bool, str)]:
        with st.expander("Where the file is unusual", icon=":material/tune:"), st.container(horizontal=True):
            options = {option.name: _field(option) for option in unusual}
    if path is None:
        return options, False
    try:
        columns, likely = columns_of(kind, path, options)
    except TrakCoreError as error:
        show_error(error)
        return options, False
    chosen = _columns(kind, columns, likely)
    return options | chosen, None not in chosen.values()


def _field(option: Option) -> Any:
    """The value that somebody chooses for an option; None where it is left as it is."""
    key = f"data {option.name}"
    if option.values is bool:
        return st.toggle(option.title, key=key, help=option.hint or None)
    if option.choices:
        values = {option.empty: None, **dict(option.choices)}
        return values[st.selectbox(option.title, list(values), key=key, help=option.hint or None)]
    if option.values is int:
        return st.number_input(
            option.title,
            min_value=1,
            max_value=MAX_NUMBER,
            value=None,
            step=8,
            key=key,
            placeholder=option.empty,
            help=option.hint or None,
            width=NUMBER_WIDTH,
        )
    typed = st.text_input(option.title, key=key, placeholder=option.empty, max_chars=40, help=option.hint or None)
    return str(typed or "").strip() or None


def _columns(kind: DataKind, columns: list[str], likely: Mapping[str, str]) -> dict[str, Any]:
    """The columns as chosen, by the option that they are for; None where one is still to be chosen."""
    modality = kind.modalities[0]
    with st.container(horizontal=True):
        if len(kind.modalities) > 1:
            modality = st.selectbox(
                "Examples are",
                sorted(kind.modalities, key=lambda name: name not in likely),
                format_func=lambda name: MODALITIES[name].plural,
                key=f"data examples {columns}",
            )
        needed = [option for option in kind.options if option.is_column and not option.empty]
        chosen = {
            option.name: _column(option, columns, likely.get(option.name))
            for option in needed
            if option.contents_of in ("", modality)
        }
    return chosen | {
        option.name: _column(option, columns, likely.get(option.name))
        for option in kind.options
        if option.is_column and option.empty
    }


def _column(option: Option, columns: list[str], likely: str | None) -> str | None:
    offered = [NO_COLUMN, *columns] if option.empty else columns
    return st.selectbox(
        option.title,
        offered,
        format_func=lambda column: column or option.empty,
        index=offered.index(likely) if likely is not None else 0 if option.empty else None,
        placeholder="choose",
        # The key holds the columns: another file has others, and a choice among those would mean nothing there.
        key=f"data {option.name} {columns}",
    )


def _choose_model(modality: str) -> str | None:
    """The name of a ready model; None to leave it to the build."""
    models = {model.name: model for model in MODALITIES[modality].models}
    name = st.selectbox(
        "Model",
        [USUAL, *models],
        format_func=lambda name: name if name == USUAL else f"{name}: {models[name].title}",
        key=f"data model {', '.join(models)}",
    )
    return None if name == USUAL else name


def _source(kind: DataKind, path: Path | None, options: dict[str, Any]) -> CustomData | None:
    if path is None:
        return None
    try:
        given = {name: value for name, value in options.items() if value != NO_COLUMN}
        return CustomData(kind.name, path, seed=int(st.session_state.get("new seed") or 0), **given)
    except TrakCoreError as error:
        show_error(error)
        return None


# --- what is in them ------------------------------------------------------------------------------------------


def _words(source: CustomData) -> tuple[str, ...]:
    return (*source.words(), "--seed", str(source.seed))


def _start_check(source: CustomData) -> None:
    """Begins to read the data; for callbacks."""
    # A key of its own: data may have changed since somebody else had them checked.
    key = f"check {secrets.token_hex(8)}"
    st.session_state.pop(_REPORT, None)
    st.session_state[_CHECK] = (_words(source), key)
    background_jobs().start(key, ["check", *_words(source), "--json"], keeps_output=True)


def _is_checking(source: CustomData) -> bool:
    """True while these very data are being read."""
    words, key = st.session_state.get(_CHECK, ((), ""))
    return words == _words(source) and background_jobs().is_running(key)


def _checked_report(source: CustomData) -> DataReport | None:
    """The report on these data, read in this very way; None where there is none."""
    words, key = st.session_state.get(_CHECK, ((), ""))
    status = background_jobs().status(key)
    if status is not None and status.state == "done":  # the report moves from the jobs to the session
        background_jobs().forget(key)
        try:
            st.session_state[_REPORT] = (words, read_report(status.output))
            del st.session_state[_CHECK]
        except TrakCoreError as error:
            show_error(error)
    words, report = st.session_state.get(_REPORT, ((), None))
    return report if words == _words(source) else None


def _show_check(source: CustomData, report: DataReport | None) -> None:
    """How far reading is, why it failed, or what is in the data."""
    words, key = st.session_state.get(_CHECK, ((), ""))
    status = background_jobs().status(key)
    if report is not None:
        _show_report(report)
    elif words == _words(source) and status is not None:
        if status.is_under_way:
            watch_job(key, "Checking the data")
        elif status.state == "failed":
            show_error(status.message)


def _show_report(report: DataReport) -> None:
    for sentence in report_sentences(report):
        st.text(for_page(sentence))
    _show_samples(report)
    findings = findings_of(report)
    if not findings:
        st.success("Every example can be read, and none occurs twice.", icon=":material/check_circle:")
    table = class_table(report)
    st.dataframe(
        table,
        hide_index=True,
        height="content" if len(table) <= MANY_ROWS else TABLE_HEIGHT,
        column_config={"class": st.column_config.Column(width="medium")},
        key="data classes",
    )
    for finding in findings:
        with st.expander(finding.title):
            st.caption(finding.help)
            st.dataframe(finding.table, hide_index=True, key=f"data {finding.title}")


def _show_samples(report: DataReport) -> None:
    """A few examples with their labels, so that people see whether the data were read as they meant."""
    if not report.samples:
        return
    st.markdown(f"**{len(report.samples)} samples**", help="Drawn from all classes, by the seed.")
    pictured = pictured_samples(report)
    if pictured:
        with st.container(horizontal=True, gap="small"):
            for sample, caption in pictured:
                with st.container(width=SAMPLE_WIDTH, gap=None):
                    show_media(sample.media, SAMPLE_WIDTH, f"{caption}: {sample.origin}")
                    st.caption(plain(caption))
    texts = sample_table(report)
    if len(texts):
        st.dataframe(
            texts,
            hide_index=True,
            height="content",
            column_config={report.noun: st.column_config.Column(width="large")},
            key="data samples",
        )


# --- check, then build ----------------------------------------------------------------------------------------


def _check_and_build(source: CustomData | None, model: str | None, suggested: str) -> None:
    report = None if source is None else _checked_report(source)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Check again" if report else "Check the data",
            type="secondary" if report else "primary",
            icon=":material/fact_check:",
            disabled=source is None or _is_checking(source),
            on_click=_start_check,
            args=(source,),
            help="Reads everything and says what is in it, before anything is trained.",
        )
        if report is not None:
            st.button(
                "Build", type="primary", icon=":material/play_arrow:", on_click=_build, args=(source, model, suggested)
            )
    if problem := st.session_state.pop(_PROBLEM, None):
        show_error(problem)
    if source is not None:
        _show_check(source, report)


def _form_words(source: CustomData, model: str | None, *name: str) -> list[str]:
    """The arguments of a build as the form says them; without the name of a run unless that is given as an option."""
    minutes, seed = float(st.session_state["data minutes"]), int(st.session_state["new seed"])
    asked = ["--minutes", f"{minutes:g}", "--seed", str(seed), *(["--model", model] if model else [])]
    return ["build", *source.words(), *name, *asked]


def _build(source: CustomData, model: str | None, suggested: str) -> None:
    try:
        run_dir = new_run_dir(suggested)
    except TrakCoreError as error:
        st.session_state[_PROBLEM] = str(error)
        return
    builds().start_build(run_dir, _form_words(source, model, "--name", run_dir.name))
    st.session_state["new name"] = ""
    doing = "waits for other builds to end" if place_in_line(run_dir) else "is being built"
    say(f"“{plain(run_dir.name)}” {doing}; it can be looked at as soon as it has scores.", ":material/info:")
