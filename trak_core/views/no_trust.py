"""Why trust is not measured, of a run or of one explanation, and whether it can be measured from here."""

from __future__ import annotations

from dataclasses import dataclass

from trak_core.store.run import Run
from trak_core.views.evidence_to_come import evidence_to_come
from trak_core.views.explanation import Explanation

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
    if run.will_have_lds:
        return NoTrust(
            "Trust is not measured yet: the build was stopped before. “Go on” on the page Home continues it."
        )
    if (to_come := evidence_to_come(run)) is not None:
        return NoTrust(f"Trust is {to_come.sentence[:1].lower()}{to_come.sentence[1:]}", can_go_on=True)
    if run.info.provenance.get("n_subsets"):
        return NoTrust("Trust could not be measured; the page Evidence says why.")
    return NoTrust("Nothing was retrained to check this.")


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
