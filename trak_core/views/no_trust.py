"""Why trust is not measured, of a run or of one explanation, and whether it can be measured from here."""

from __future__ import annotations

from dataclasses import dataclass

from trak_core.store.progress import BuildStatus
from trak_core.store.run import Run
from trak_core.subjects.of_run import why_not_made_again
from trak_core.views.evidence_to_come import evidence_to_come
from trak_core.views.explanation import Explanation
from trak_core.views.not_measured import why_no_evidence

UNDER_WAY = "Trust is not measured yet; work on this run is under way."


@dataclass(frozen=True)
class NoTrust:
    """Why there is no trust to show."""

    sentence: str  # the reason
    can_go_on: bool = False  # True where the page Evidence has a button that measures it


def why_no_trust(run: Run, is_busy: bool) -> NoTrust | None:
    """Why nothing tells how far the explanations of a run can be trusted; None where something does.

    Args:
        run: that is asked about.
        is_busy: whether it is being built or measured.
    """
    if run.has_lds:
        return None
    if is_busy:
        return NoTrust(UNDER_WAY)
    made = run.info.provenance
    is_unfinished = made.get("grows") and made.get("n_seeds") and not made.get("complete")
    if run.will_have_lds or is_unfinished:
        return NoTrust(
            "Trust is not measured yet: the build was stopped before. “Go on” on the page Home continues it."
        )
    if (to_come := evidence_to_come(run)) is not None:
        return NoTrust(f"Trust is {to_come.sentence[:1].lower()}{to_come.sentence[1:]}", can_go_on=True)
    if made.get("n_subsets"):
        return NoTrust("Trust could not be measured; the page Evidence says why.")
    return NoTrust("Nothing was retrained to check this.")


def no_trust_in_a_terminal(run: Run, status: BuildStatus | None) -> str:
    """The same for a terminal, with the command that goes on, if any; of a run that nothing was measured of.

    Args:
        run: that is asked about.
        status: of what is being done with the run, or was stopped; None where nothing is.
    """
    made = run.info.provenance
    if status is not None and status.state == "running":
        return UNDER_WAY
    if status is not None and status.command[:1] in (["build"], ["extend"]) and made.get("n_seeds") != 0:
        ended = "failed" if status.state == "failed" else "was stopped"
        return f"Trust is not measured yet: work on this run {ended}. Go on with: {status.in_a_terminal}"
    if (to_come := evidence_to_come(run)) is not None:
        return f"Trust is {to_come.sentence[:1].lower()}{to_come.sentence[1:]} Go on with: {to_come.command}"
    reason = why_not_made_again(run) if made.get("grows") and made.get("n_seeds") else None
    if reason:
        return f"Trust is not measured, and no model can be retrained here: run {run.info.name!r} {reason}."
    return f"Trust is not measured. {why_no_evidence(run)}"


def why_not_measured(run: Run, explanation: Explanation, is_busy: bool) -> NoTrust | None:
    """The same of one explanation, whose method or target may lack what others of the run have."""
    trust = explanation.trust
    if trust.lds is not None:
        return None
    if trust.is_undefined:
        return NoTrust("LDS is undefined here: the retrained models say the same for every half.")
    if (of_run := why_no_trust(run, is_busy)) is not None:
        return of_run
    title = run.method_titles[explanation.method]
    return NoTrust(f"Not measured: the retrained models were not compared with {title} for this.")
