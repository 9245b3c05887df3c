"""What a run says of the subject of somebody's own that it was built from."""

from trak_core.store.run import Run
from trak_core.subjects import OWN_SUBJECT
from trak_core.subjects.subject import ONE_FUNCTION


def notes_of(run: Run) -> list[str]:
    """What was left out of a run's evidence and why, a sentence or two each."""
    notes = run.info.provenance.get("notes")
    # A run from elsewhere may hold anything.
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []


def why_no_evidence(run: Run) -> str:
    """Why nothing was retrained for a run, and what would add it."""
    believed = "Whether scores can be believed shows only when models are retrained on other data."
    if run.info.recipe == OWN_SUBJECT:
        return f"Its subject trains no models. {believed} {ONE_FUNCTION}, as trak_core.Subject(train_model=...)."
    if run.info.provenance.get("imported"):
        return f"It was {run.info.origin}. {believed} Build a recipe to see what that looks like."
    return (
        f"It was {run.info.origin}. {believed} {ONE_FUNCTION}: attributor.measure({run.info.name!r}, train_model), "
        "where the Attributor that saved it is, builds all of it."
    )


def what_is_left_to_measure(run: Run) -> tuple[str, str]:
    """What measuring every method of a run adds: a title, and what it is and takes."""
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
