"""The panel for an input of one's own: upload or draw an image, type a text, and see what it is explained by."""

import hashlib
from typing import Literal

import streamlit as st

from pages.components.address import ANSWER, MANY_CLASSES, go_to_train
from pages.components.cards import side_items
from pages.components.draw import drawing_sheet, png_of
from pages.components.gallery import gallery
from pages.components.images import show_image
from pages.components.text import plain
from pages.components.view import Picture, Pictures, Words, note
from trak_core.errors import TrakCoreError
from trak_core.live.own_input import (
    OwnInput,
    example_text,
    explain_own_image,
    explain_own_text,
    look_of,
    own_sentences,
    sides,
    takes_drawings,
    why_not_live,
)
from trak_core.live.texts import MAX_CHARACTERS
from trak_core.store.run import Run

__all__ = ["own_input_panel"]

UPLOAD, DRAW = "Upload", "Draw"
TYPES = ["png", "jpg", "jpeg", "gif", "webp", "bmp", "tif", "tiff"]
_LAST = "own input explained"
_SIDES: dict[Literal["proponent", "opponent"], str] = {
    "proponent": ":blue[▲ **Proponents**]: spoke for it",
    "opponent": ":orange[▼ **Opponents**]: spoke against it",
}


def own_input_panel(run: Run) -> None:
    """Takes an input of a person's own, and shows the model's answer with the train examples behind it.

    Costs nothing until something is given. The first input of a run takes seconds, the others less than half a one.
    """
    with st.container(border=True):
        st.markdown(
            "**Try your own input**",
            help="It is scored against every training example as the test examples were. It stays on this server only "
            "while the page is open, and is no part of the address.",
        )
        reason = why_not_live(run)
        if reason is not None:
            st.info(plain(reason), icon=":material/info:")
            return
        form, answer = st.columns([1, 3])
        with form:
            given = _take_text(run) if run.info.modality == "text" else _take_image(run)
        with answer:
            if given is None:
                images = "Upload or draw a digit" if takes_drawings(run) else "Upload an image"
                what = "Type a text" if run.info.modality == "text" else images
                st.caption(f"{what}: the model's answer, and the training examples that made it so, appear here.")
                return
            try:
                own = _explained(run, given)
            except TrakCoreError as error:
                sentence = str(error)
                st.error(plain(sentence[:1].upper() + sentence[1:]), icon=":material/error:")
                return
            _show(run, own)


def _take_text(run: Run) -> str | bytes | None:
    st.text_area(
        "Type a text",
        key="own_text",
        height=150,
        max_chars=MAX_CHARACTERS,
        placeholder=example_text(run),
        help="Press Ctrl+Enter, or click beside it, to see the answer.",
    )
    text = str(st.session_state["own_text"] or "")
    return text if text.strip() else None


def _take_image(run: Run) -> str | bytes | None:
    if not takes_drawings(run):
        return _uploaded("Upload an image like those of the data", f"Brought to what the model takes: {look_of(run)}.")
    way = st.segmented_control(
        "Own image", [UPLOAD, DRAW], default=UPLOAD, required=True, key="own_way", label_visibility="collapsed"
    )
    if way == DRAW:
        drawing = drawing_sheet("Sheet to draw one digit on with the mouse or a finger", key="own_drawing")
        st.caption("Draw one digit, large. The answer comes when you pause.")
        return drawing or None
    return _uploaded("Upload an image of one digit", "A photo, scan or screenshot; one digit, large, on plain ground.")


def _uploaded(label: str, caption: str) -> bytes | None:
    file = st.file_uploader(label, type=TYPES, key="own_file", max_upload_size=10)
    st.caption(caption)
    return None if file is None else file.getvalue()


def _explained(run: Run, given: str | bytes) -> OwnInput:
    """The explanation, kept for this session until something else is given."""
    is_text = run.info.modality == "text"
    digest = hashlib.sha256(given.encode(errors="replace") if isinstance(given, str) else given).hexdigest()
    key = (str(run.path), run.generation, digest)
    held = st.session_state.get(_LAST)
    if held is not None and held[0] == key:
        return held[1]  # type: ignore[no-any-return]
    with st.spinner("Scoring it against every training example; the first time, the model is made ready …"):
        if is_text:
            own = explain_own_text(run, str(given))
        else:
            own = explain_own_image(run, png_of(given) if isinstance(given, str) else given)
    st.session_state[_LAST] = (key, own)
    return own


def _show(run: Run, own: OwnInput) -> None:
    top = st.container(gap="xsmall")  # the answer comes first, though the choice decides it
    target = _choose_class(run)
    target = own.answer.predicted if target is None else target
    said = own_sentences(run, own, target)
    with top:
        st.text(said.answer)
        if said.warning:
            st.warning(plain(said.warning), icon=":material/warning:")
    looked, *galleries = st.columns([1.1, 2, 2])
    with looked, st.container(gap="xsmall"):
        st.markdown("As the model sees it")
        if own.thumbnail:
            show_image(own.thumbnail, 110, "your image as the model sees it")
        for step in own.steps:
            st.caption(plain(step))
    for column, (side, title) in zip(galleries, _SIDES.items(), strict=True):
        with column:
            _side(run, own, target, side, title)
    st.caption(plain(said.trust))
    lines = (said.answer, *own.steps)
    note("own input", Pictures("Your own input", (Picture(own.thumbnail, own.text or "", lines),)))
    note("own input trust", Words(" ".join(filter(None, (said.warning, said.trust)))))


def _choose_class(run: Run) -> int | None:
    names = list(run.info.class_names)
    options = [ANSWER, *names]
    if st.session_state.get("own_target") not in options:
        st.session_state.pop("own_target", None)
    help_text = "Pick a class to ask why the model would, or would not, say that."
    # As in `choose_target`: labels of a segmented control are Markdown.
    if len(names) <= MANY_CLASSES and all(plain(name) == name for name in names):
        chosen = st.segmented_control(
            "Explain", options, default=ANSWER, required=True, key="own_target", help=help_text
        )
    else:
        chosen = st.selectbox("Explain", options, key="own_target", help=help_text)
    return None if chosen in (None, ANSWER) else names.index(chosen)


def _side(run: Run, own: OwnInput, target: int, side: Literal["proponent", "opponent"], title: str) -> None:
    shown = sides(run, own.answer, target, side, k=12 if own.thumbnail else 6)  # texts take more room
    st.markdown(title)
    gallery(
        f"{side} of your input",
        side_items(shown, side),
        key=f"own {side}s",
        on_pick=go_to_train,
        selected=st.session_state.get("train"),
    )
