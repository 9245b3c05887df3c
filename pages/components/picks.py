"""The basket of picked train examples, which every page fills and the what-if panel asks about.

Picks lie in the session, and in the address as `picked=3.17.204`. An address that names picks brings them along; one
that names none leaves the basket as it is, so that picks stay from page to page. Picks belong to one run.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import streamlit as st

from pages.components.address import leave_out
from pages.components.text import plain
from trak_core.store.run import Run

KEY = "picked"
MOST_IN_ADDRESS = 500
_BASKET = "basket of picks"


@dataclass(frozen=True)
class _Basket:
    """Picks of one run."""

    run: str | None  # its name
    idxs: tuple[int, ...] = ()  # sorted numbers of train examples
    address: str | None = None  # what the address says of them; None where nothing
    is_new: bool = False  # True from a change until the address has been brought in step


def picked_train(run: Run) -> list[int]:
    """The picked train examples of the run, sorted; picks that are not there are left out of the address with a notice.

    Call it on every page that shows picks or lets people pick.
    """
    basket = _basket()
    asked = st.query_params.get(KEY)
    if basket.is_new:  # picked by a click just now, which counts for more than the address
        return _keep(basket, run)
    if basket.run not in (None, run.info.name) and asked == basket.address:
        return _keep(_Basket(run.info.name), run)  # another run was chosen, and these were picked from the last one
    if asked is None or (asked == basket.address and basket.run == run.info.name):
        return _keep(_Basket(run.info.name, basket.idxs), run)
    idxs = _read(asked)
    if idxs is None or len(idxs) > MOST_IN_ADDRESS or idxs[-1] >= run.info.n_train:
        st.session_state[_BASKET] = _Basket(run.info.name)
        leave_out(
            KEY,
            f"The address asks for the picks “{plain(shown(asked))}”, which this run does not have: they are up to "
            f"{MOST_IN_ADDRESS} numbers from 0 to {run.info.n_train - 1} with dots between. None are picked.",
        )
    return _keep(_Basket(run.info.name, idxs), run)


def shown(asked: str) -> str:
    """What was asked for, short enough to be told."""
    return asked if len(asked) <= 60 else f"{asked[:60]} …"


def _keep(basket: _Basket, run: Run) -> list[int]:
    """Brings session and address in step."""
    idxs = tuple(idx for idx in basket.idxs if idx < run.info.n_train)
    address = ".".join(map(str, idxs)) if 0 < len(idxs) <= MOST_IN_ADDRESS else None
    if address is None:
        st.query_params.pop(KEY, None)
    elif st.query_params.get(KEY) != address:
        st.query_params[KEY] = address
    st.session_state[_BASKET] = _Basket(run.info.name, idxs, address)
    return list(idxs)


def toggle_pick(train_idx: int) -> None:
    """Picks a train example, or puts it back; for callbacks, which run before the page is drawn."""
    _change(set(_basket_now()) ^ {int(train_idx)})


def pick_button(run: Run, train_idx: int, tip: str) -> None:
    """A button that picks a train example, or puts it back; `tip` says what that is good for on this page."""
    is_picked = train_idx in picked_train(run)
    st.button(
        "Take out of “what if?”" if is_picked else "Put into “what if?”",
        icon=":material/remove_circle:" if is_picked else ":material/add_circle:",
        on_click=toggle_pick,
        args=(train_idx,),
        help=tip,
    )


def pick_many(idxs: Iterable[int]) -> None:
    """Adds train examples to the picks; for callbacks."""
    _change(set(_basket_now()) | {int(idx) for idx in idxs})


def replace_picks(idxs: Iterable[int]) -> None:
    """Picks these train examples and no others; for callbacks."""
    _change({int(idx) for idx in idxs})


def clear_picks() -> None:
    """Empties the basket; for callbacks."""
    _change(set())


def _change(idxs: set[int]) -> None:
    st.session_state[_BASKET] = _Basket(st.session_state.get("run"), tuple(sorted(idxs)), is_new=True)


def _basket() -> _Basket:
    held: _Basket = st.session_state.get(_BASKET, _Basket(None))
    return held


def _basket_now() -> tuple[int, ...]:
    """The picks before a change, also where no page has read the address yet."""
    basket, asked = _basket(), st.query_params.get(KEY)
    if basket.run not in (None, st.session_state.get("run")):
        return ()
    if not basket.is_new and asked is not None and asked != basket.address:
        return _read(asked) or ()
    return basket.idxs


def _read(asked: str) -> tuple[int, ...] | None:
    """Sorted numbers from an address; None where it holds anything else."""
    words = asked.split(".")
    if not all(word.isascii() and word.isdecimal() and len(word) < 10 for word in words):
        return None
    return tuple(sorted({int(word) for word in words}))
