"""Options that every `build` has, whatever it builds from."""

import click

from trak_core.subjects.planting import KINDS


def seed_and_device() -> list[click.Parameter]:
    """The root of random choices, and where to compute."""
    return [
        click.Option(["--seed"], type=int, default=0, show_default=True, help="Root of every random choice."),
        click.Option(
            ["--device"],
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
            show_default=True,
            help="Where to compute.",
        ),
    ]


def size_options() -> list[click.Parameter]:
    """Sizes in place of what a budget of minutes pays for."""
    return [
        click.Option(["--n-checkpoints"], type=int, help="Models that attribution averages over.  [by --minutes]"),
        click.Option(["--n-subsets"], type=int, help="Random halves to retrain on.  [by --minutes]"),
        click.Option(["--n-seeds"], type=int, help="Models retrained on each half.  [by --minutes]"),
    ]


def planting_options() -> list[click.Parameter]:
    """Labels to make wrong on purpose."""
    return [
        click.Option(
            ["--flip-labels"],
            type=float,
            default=0.0,
            show_default=True,
            help="Share of the training labels to make wrong on purpose, 0 to 0.5, to try finding them.",
        ),
        click.Option(
            ["--flip-kind"],
            type=click.Choice(KINDS),
            default="uniform",
            show_default=True,
            help="Which wrong label these get: of any other class, or of one that looks alike.",
        ),
    ]
