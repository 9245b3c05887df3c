"""What the evidence of a run lacks, why, and what would add it."""

import numpy as np

from trak_core.evidence.fixed_counts import why_not_fixed
from trak_core.store.run import Run
from trak_core.subjects import OWN_SUBJECT
from trak_core.subjects.subject import ONE_FUNCTION
from trak_core.views.evidence import Board


def notes_of(run: Run) -> list[str]:
    """What is not in a run's evidence and why, a sentence or two each."""
    notes = run.info.provenance.get("notes")
    # A run from elsewhere may hold anything.
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []


def why_no_fixed_lds(run: Run) -> str:
    """Why a run that has evidence has no LDS at fixed class counts, as a sentence; empty where it has."""
    rows = run.rows(
        "SELECT n_subsets, lds, lds_fixed FROM lds_summary WHERE method = ? ORDER BY n_checkpoints DESC LIMIT 1",
        [run.info.method],
    )
    n_subsets, lds, fixed = rows[0] if rows else (0, None, None)
    if lds is None or fixed is not None:
        return ""
    n_classes = len(np.unique(run.train_labels))
    if not run.info.has_classes or n_classes < 2:
        return "LDS at fixed class counts is not measured: there are no classes whose shares differ."
    return why_not_fixed(n_subsets, n_classes) or (
        "LDS at fixed class counts was not measured by the older version that made this run; measuring every method "
        "does that."
    )


def why_no_fixed_truths(run: Run) -> str:
    """Why no further truth of a run has an LDS at fixed class counts, as a sentence; empty where one has."""
    n_subsets, is_measured = run.rows(
        "SELECT max(n_subsets), bool_or(lds_fixed IS NOT NULL) FROM truth_lds JOIN truths USING (truth_id)"
    )[0]
    n_classes = len(np.unique(run.train_labels)) if run.info.has_classes else 0
    if is_measured or n_subsets is None or n_classes < 2:
        return ""
    return why_not_fixed(n_subsets, n_classes, subsets="random subsets of each kind")


def why_no_evidence(run: Run) -> str:
    """Why nothing was retrained for a run, and what would add it."""
    believed = "Whether scores can be believed shows only when models are retrained on other data."
    n_diverged, n_subsets = run.rows("SELECT count(*) FILTER (role = 'diverged'), count(*) FROM subsets")[0]
    if n_diverged:
        return (
            f"Training diverged on {n_diverged} of {n_subsets} random halves of the training data, so that too few are "
            "left to measure anything on. Train with a lower learning rate, or with another model."
        )
    if run.info.recipe == OWN_SUBJECT:
        return f"Its subject trains no models. {believed} {ONE_FUNCTION}, as trak_core.Subject(train_model=...)."
    if run.info.provenance.get("imported"):
        return f"It was {run.info.origin}. {believed} Build a recipe to see what that looks like."
    return (
        f"It was {run.info.origin}. {believed} {ONE_FUNCTION}: attributor.measure({run.info.name!r}, train_model), "
        "where the Attributor that saved it is, builds all of it."
    )


def what_is_left_to_measure(run: Run, found: Board | None = None) -> tuple[str, str]:
    """What measuring every method of a run adds: a title, and what it is and takes; its board where it has one."""
    if found is not None and found.is_measured:
        return (
            "There are negative controls to compare with",
            "An older version measured this run. Measuring every method again adds simple rules that attribution has "
            "to beat, and LDS at fixed class counts where there are enough halves. It takes ten to twenty minutes on "
            "two processor cores, and results join this page as they come.",
        )
    if not run.info.provenance.get("n_subsets"):
        return (
            "There are more methods to compare",
            "Influence functions, gradient products and others that need checkpoints alone give their scores; which of "
            "them is right shows only when models are retrained. It takes some minutes on two processor cores.",
        )
    return (
        "There are more methods to compare, and removal to measure",
        "MAGIC, influence functions, SOURCE, datamodels and others, each judged by the same retrained models; then the "
        "strongest proponents are removed and models trained without them. It takes ten to twenty minutes on two "
        "processor cores, and results join this page as they come.",
    )


def lacks_measurements(found: Board) -> bool:
    """True where measuring every method would add to the board: methods, or controls that older versions lacked."""
    return not found.is_measured or not found.has_controls


def what_was_not_measured(has_removals: bool, has_truths: bool) -> str:
    """Which of the further measurements a run lacks, as a sentence; empty where it has both."""
    lacks = [] if has_removals else ["what removing the top examples changes"]
    lacks += [] if has_truths else ["LDS for smaller removals"]
    return f"Not measured in this run: {' and '.join(lacks)}." if lacks else ""
