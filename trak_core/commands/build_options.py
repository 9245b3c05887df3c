"""Options that several kinds of `build` have, and what they say of sizes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from trak_core.datasets.rows import counted
from trak_core.jobs import report_progress
from trak_core.subjects.planting import KINDS

if TYPE_CHECKING:
    from trak_core.engine.budget import Sizes


def option(flag: str, text: str, **settings: Any) -> click.Option:
    """An option that says its default, where it has one."""
    return click.Option([flag], help=text, show_default="default" in settings, **settings)


def seed_and_device() -> list[click.Parameter]:
    """The root of random choices, and where to compute."""
    return [
        option("--seed", "Root of every random choice.", type=int, default=0),
        option("--device", "Where to compute.", type=click.Choice(["auto", "cpu", "cuda"]), default="auto"),
    ]


def budget_options() -> list[click.Parameter]:
    """A budget of minutes, and sizes in place of what it pays for."""
    minutes = "That the whole build may take: scores, suspects and a map come first, then evidence as far as they go."
    return [
        option("--minutes", minutes, type=float, default=10.0),
        option("--n-checkpoints", "Models that attribution averages over.  [by --minutes]", type=int),
        option("--n-subsets", "Random halves to retrain on, however long that takes.  [by --minutes]", type=int),
        option("--n-seeds", "Models retrained on each half.  [by --minutes]", type=int),
    ]


def planting_options() -> list[click.Parameter]:
    """Labels to make wrong on purpose."""
    share = "Share of the training labels to make wrong on purpose, 0 to 0.5, to try finding them."
    kind = "Which wrong label these get: of any other class, or of one that looks alike."
    return [
        option("--flip-labels", share, type=float, default=0.0),
        option("--flip-kind", kind, type=click.Choice(KINDS), default="uniform"),
    ]


def say_phase(phase: str) -> None:
    """Says what a build does before it has a place to tell how far it is."""
    report_progress(0.0, phase)
    click.echo(f"{time.strftime('%H:%M:%S')} {phase}", err=True)


def say_sizes(sizes: Sizes) -> None:
    """Says how much a build computes."""
    halves = "no evidence in these minutes, which can be measured later"
    if sizes.n_subsets:
        from trak_core.engine.budget import N_FIT

        halves = (
            f"about {sizes.n_subsets} random halves with {counted(sizes.n_seeds, 'model')} each, {N_FIT} of which "
            "choose the ridge"
        )
    elif not sizes.n_seeds:
        halves = "no retraining"
    click.echo(f"To be computed: {counted(sizes.n_checkpoints, 'checkpoint')}; {halves}.")
