"""The panel for a new input: upload, draw or type it, and see what it is explained by."""

import hashlib
from typing import Any

import streamlit as st

from pages.components.address import ANSWER, choose_name, go_to_train
from pages.components.cards import side_items, side_title
from pages.components.draw import drawing_sheet, png_of
from pages.components.gallery import gallery
from pages.components.media import show_media
from pages.components.own_text import own_text
from pages.components.text import plain, told
from pages.components.view import Card, Cards, Words, note, show_error
from trak_core.errors import TrakCoreError
from trak_core.live.new_input import (
    ExplainedInput,
    example_text,
    explain_new,
    fields_of,
    file_to_run_first,
    invitation_of,
    why_not_live,
)
from trak_core.modalities import Draw, Field, Type, Upload
from trak_core.store.ranking import SIDES, Side
from trak_core.store.run import Run
from trak_core.subjects.of_run import read_subject
from trak_core.views.examples import shows_texts
from trak_core.views.new_input import answer_sentences, sides
from trak_core.views.token_question import goes_on

_WAYS = {Upload: "Upload", Draw: "Draw", Type: "Type"}
_LAST = "new input explained"


def new_input_panel(run: Run) -> None:
    """Takes a new input, and shows the model's answer with the train examples behind it.

    A language model goes on with what is typed. Costs nothing until something is given. The first input of a run takes
    seconds, the others less than half a one.
    """
    with st.container(border=True):
        st.markdown(
            "**Try your own input**",
            help="It is scored against every training example as the test examples were. It stays on this server only "
            "while the page is open, and is no part of the address.",
        )
        if goes_on(run):
            own_text(run)
            return
        try:
            reason, fields, file = why_not_live(run), fields_of(run), file_to_run_first(run)
        except TrakCoreError as error:
            show_error(error)
            return
        if reason is not None:
            st.info(told(reason), icon=":material/info:")
            if file is not None:
                _offer_to_run(run, file)
            return
        form, answer = st.columns([1, 3])
        try:
            with form:
                given = {field.name: _take(run, field) for field in fields}
            with answer:
                if None in given.values():
                    what = invitation_of(run)
                    st.caption(f"{what}: the model's answer, and its proponents and opponents appear here.")
                else:
                    _show(run, _explained(run, given))
        except TrakCoreError as error:
            with answer:
                show_error(error)


def _offer_to_run(run: Run, file: str) -> None:
    """A button that runs the subject file of the run; nothing else on the page runs it."""
    if st.button(plain(f"Run {file}"), key="run subject file", help="It is your own code, and runs on this server."):
        try:
            with st.spinner(plain(f"Running {file} …")):
                read_subject(run)
        except TrakCoreError as error:
            show_error(error)
        else:
            st.rerun()


def _take(run: Run, field: Field) -> Any:
    """What was given for a field; None where nothing was."""
    way = field.ways[0]
    if len(field.ways) > 1:
        ways = {_WAYS[type(one)]: one for one in field.ways}
        chosen = st.segmented_control(
            f"Way to give the {field.name}",
            list(ways),
            default=next(iter(ways)),
            required=True,
            key=f"new {field.name} way",
            label_visibility="collapsed",
        )
        way = ways[chosen or next(iter(ways))]
    key = f"new {field.name} {_WAYS[type(way)].lower()}"
    if isinstance(way, Draw):
        drawing = drawing_sheet(way.label, key=key)
        given: Any = png_of(drawing) if drawing else None
    elif isinstance(way, Upload):
        file = st.file_uploader(way.label, type=list(way.types), key=key, max_upload_size=way.max_megabytes)
        given = None if file is None else file.getvalue()
    else:
        given = _typed(run, way, key)
    if way.caption:
        st.caption(way.caption)
    return given


def _typed(run: Run, way: Type, key: str) -> str | None:
    example = way.example or example_text(run)
    if way.is_long:
        tip = "Press Ctrl+Enter, or click beside it, to see the answer."
        st.text_area(way.label, key=key, height=150, max_chars=way.max_characters, placeholder=example, help=tip)
    else:
        st.text_input(way.label, key=key, max_chars=way.max_characters, placeholder=example, autocomplete="off")
    text = str(st.session_state[key] or "")
    return text if text.strip() else None


def _explained(run: Run, given: dict[str, Any]) -> ExplainedInput:
    """The explanation, kept for this session until something else is given."""
    digest = hashlib.sha256()
    for name, content in sorted(given.items()):
        digest.update(name.encode() + b"\0")
        digest.update(content.encode(errors="replace") if isinstance(content, str) else content)
    key = (str(run.path), run.generation, digest.hexdigest())
    held = st.session_state.get(_LAST)
    if held is not None and held[0] == key:
        return held[1]  # type: ignore[no-any-return]
    with st.spinner("Scoring it against every training example; the first time, the model is made ready …"):
        explained = explain_new(run, given)
    st.session_state[_LAST] = (key, explained)
    return explained


def _show(run: Run, explained: ExplainedInput) -> None:
    top = st.container(gap="xsmall")  # the answer comes first, though the choice decides it
    names = list(run.info.class_names)
    chosen = choose_name(
        [ANSWER, *names], "new_target", "Pick a class to ask why the model would, or would not, say that."
    )
    asked = explained.answer.predicted if chosen == ANSWER else names.index(chosen)
    said = answer_sentences(run, explained, asked)
    with top:
        st.text(said.answer)
        if said.warning:
            st.warning(plain(said.warning), icon=":material/warning:")
    looked, *galleries = st.columns([1.1, 2, 2])
    with looked, st.container(gap="xsmall"):
        st.markdown("As the model sees it")
        show_media(explained.media, 110, "your input as the model sees it")
        for step in explained.steps:
            st.caption(plain(step))
    for column, side in zip(galleries, SIDES, strict=True):
        with column:
            _side(run, explained, asked, side)
    st.caption(plain(said.trust))
    note("new input", Cards("Your own input", (Card(explained.media, (said.answer, *explained.steps)),)))
    note("new input trust", Words(" ".join(filter(None, (said.warning, said.trust)))))


def _side(run: Run, explained: ExplainedInput, asked: int, side: Side) -> None:
    shown = sides(run, explained.answer, asked, side, k=6 if shows_texts(run) else 12)  # texts take more room
    st.markdown(side_title(side))
    gallery(
        f"{side} of your input",
        side_items(shown, side),
        key=f"new {side}s",
        on_pick=go_to_train,
        selected=st.session_state.get("train"),
    )
