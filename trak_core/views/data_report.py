"""What is in a person's own data, as sentences and tables; for pages, before anything is trained."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from trak_core.datasets.report import DataReport, Forecast, Repeated
from trak_core.datasets.samples import Sample
from trak_core.durations import in_minutes
from trak_core.errors import InvalidDataError
from trak_core.media import Text, first_picture
from trak_core.modalities.raw import Skipped

N_MEMBERS = 8
"""Examples of one repeated input that a table names."""
MAX_ROWS = 1000
"""Rows of a table on a page; the others are counted."""


@dataclass(frozen=True)
class Finding:
    """Something that a person should look at before training."""

    title: str  # short, with its number
    help: str  # what it means for a run, a sentence
    table: pd.DataFrame  # the examples, a row each, at most a thousand


def read_report(text: str) -> DataReport:
    """The report that `DataReport.as_json` wrote.

    Raises:
        InvalidDataError: it did not.
    """
    try:
        told = json.loads(text)
        classes = told["classes"]
        return DataReport(
            name=told["name"],
            modality=told["modality"],
            class_names=tuple(one["name"] for one in classes),
            n_train=tuple(one["n_train"] for one in classes),
            n_test=tuple(one["n_test"] for one in classes),
            sizes=told["sizes"],
            repeated=tuple(
                Repeated(tuple(one["train"]), tuple(one["test"]), tuple(one["labels"])) for one in told["repeated"]
            ),
            skipped=tuple(Skipped(one["where"], one["why"]) for one in told["left_out"]),
            notes=tuple(told["notes"]),
            samples=tuple(map(Sample.from_dict, told["samples"])),
            forecasts=tuple(Forecast(**one) for one in told.get("forecasts", ())),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidDataError("the report on the data did not arrive whole; check the data again.") from error


def forecast_for(found: Sequence[Forecast], minutes: float) -> Forecast | None:
    """What so many minutes buy at least: the forecast of the most minutes that are no more than these."""
    return max((each for each in found if each.minutes <= minutes), key=lambda each: each.minutes, default=None)


def forecast_sentence(found: Forecast, asked: float | None = None) -> str:
    """What so many minutes of a build buy, for people; where more were `asked` about, they buy that at least."""
    given = in_minutes(found.minutes)
    if asked is not None and asked > found.minutes:
        given = f"{in_minutes(asked)}, at least what {given} buy{'s' if found.minutes == 1 else ''}"
    evidence = f"then trust, measured on about {found.n_subsets} random halves"
    if not found.n_subsets:
        evidence = "no time to measure trust, which can be done later"
    return (
        f"With {given}: suspects after about {_in_minutes(found.seconds_to_suspects)}, scores after about "
        f"{_in_minutes(found.seconds_to_scores)}; {evidence}."
    )


def differs(found: Forecast, before: Forecast | None) -> bool:
    """False where more minutes than before buy nothing more."""
    return before is None or (found.n_checkpoints, found.n_subsets) != (before.n_checkpoints, before.n_subsets)


def _in_minutes(seconds: float) -> str:
    if seconds < 100:
        return f"{max(5, 5 * round(seconds / 5))} s"
    return f"{seconds / 60:.0f} min"


def report_sentences(report: DataReport) -> tuple[str, ...]:
    """What the data are, what sizes they have, and what the reader decided by itself."""
    n_classes = len(report.class_names)
    first = (
        f"“{report.name}”: {sum(report.n_train):,} training and {sum(report.n_test):,} test {report.plural} in "
        f"{n_classes:,} classes."
    )
    return (first, report.sizes, *report.notes)


def class_table(report: DataReport) -> pd.DataFrame:
    """Classes, one row each: name, training examples, test examples."""
    return pd.DataFrame({"class": report.class_names, "training": report.n_train, "test": report.n_test})


def sample_table(report: DataReport) -> pd.DataFrame:
    """The samples without pictures, one row each: class, what stands in them, split, and where they came from."""
    rows = [
        (
            report.class_names[one.label],
            "\n".join(m.text for m in one.media if isinstance(m, Text)),
            one.split,
            one.origin,
        )
        for one in report.samples
        if first_picture(one.media) is None
    ]
    return pd.DataFrame(rows, columns=["class", report.noun, "split", "from"])


def pictured_samples(report: DataReport) -> tuple[tuple[Sample, str], ...]:
    """The samples that have pictures, each with its class and its split in words."""
    pictured = (one for one in report.samples if first_picture(one.media) is not None)
    return tuple((one, f"{report.class_names[one.label]}, {one.split}") for one in pictured)


def repeated_table(report: DataReport, repeated: Sequence[Repeated]) -> pd.DataFrame:
    """Inputs that occur more than once, one row each: the examples that have it, and their labels."""
    rows = [
        (_members(one.train), _members(one.test), ", ".join(report.class_names[label] for label in one.labels))
        for one in repeated[:MAX_ROWS]
    ]
    return pd.DataFrame(rows, columns=["training examples", "test examples", "labels"])


def _members(idxs: Sequence[int]) -> str:
    more = f" and {len(idxs) - N_MEMBERS:,} more" if len(idxs) > N_MEMBERS else ""
    return ", ".join(map(str, idxs[:N_MEMBERS])) + more


def findings_of(report: DataReport) -> tuple[Finding, ...]:
    """What a person should look at, the gravest first; only what there is."""
    skipped = [(one.where, one.why) for one in report.skipped[:MAX_ROWS]]
    found = (
        (
            f"{len(report.conflicts):,} with labels in conflict",
            "The same input bears more than one label, so at least one of them is wrong.",
            repeated_table(report, report.conflicts),
        ),
        (
            f"{report.n_leaks:,} test examples in training too",
            "The model has seen these test examples; its accuracy on them says nothing.",
            repeated_table(report, report.leaks),
        ),
        (
            f"{len(report.skipped):,} skipped",
            "These cannot be used; the run is built without them.",
            pd.DataFrame(skipped, columns=["skipped", "because"]),
        ),
        (
            f"{report.n_duplicates:,} repeated",
            "Training examples that repeat an earlier one share its influence.",
            repeated_table(report, report.duplicates),
        ),
        (
            f"{report.n_test_duplicates:,} repeated in the test split",
            "Test examples that repeat an earlier one are explained alike, and count more than once in every average.",
            repeated_table(report, report.test_duplicates),
        ),
    )
    return tuple(Finding(title, text, table) for title, text, table in found if len(table))
