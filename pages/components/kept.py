"""What pages compute from a run, kept as long as the run stays what it is."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import streamlit as st

from trak_core.store.run import Run

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def kept_per_run(
    max_entries: int, spinner: str | bool = False
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """A decorator that keeps results for all visitors, and computes them anew once another store is published.

    Args:
        max_entries: results that are kept.
        spinner: what is shown while one is computed; False shows nothing.
    """

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        kept: Callable[Arguments, Result] = st.cache_resource(
            max_entries=max_entries,
            show_spinner=spinner,
            hash_funcs={Run: lambda run: (str(run.path), run.generation)},
        )(function)
        return kept

    return decorate
