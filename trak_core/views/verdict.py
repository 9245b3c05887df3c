"""The answer of the evidence in a few sentences: each follows from the numbers of the run."""

from dataclasses import dataclass

from trak_core.evidence.lds_alone import lds_alone
from trak_core.store.run import Run
from trak_core.views.browse import TestOverview
from trak_core.views.controls import MAY, control_verdict
from trak_core.views.evidence import Board, BoardRow
from trak_core.views.model_quality import blindness, sees_nothing
from trak_core.views.not_measured import why_no_fixed_lds

ONLY_COUNTS = "how many examples of each class a half has"
NEAR_ZERO = 0.1
"""LDS at fixed class counts up to which nothing worth the name is left."""
APART = 0.05
"""Two LDS that differ by less are called the same."""


@dataclass(frozen=True)
class Verdict:
    """Whether the scores of a run's own method can be believed."""

    claim: str  # in one sentence
    claim_is_good: bool  # False where the claim speaks against the scores
    figures: list[str]  # LDS, and LDS at fixed class counts, each with its interval and its ceiling
    controls: str  # that a simple rule does as well or may do, or what else there is to say of the controls
    further: list[str]  # what else follows, a sentence each
    beats_controls: bool | None  # None where nothing was compared
    suffices: bool = False  # whether a simple rule does as well, rather than that it may
    cap: str = ""  # why trust is no higher than what LDS alone deserves, in a sentence; empty where that does not apply
    cap_is_low: bool = False  # whether that is because a simple rule reaches most of the LDS

    @property
    def is_good(self) -> bool:
        """False where the claim or the controls speak against the scores."""
        return self.claim_is_good and self.beats_controls is not False and not self.cap_is_low

    @property
    def doubts(self) -> list[str]:
        """Of the sentences those that speak against the scores."""
        claims = [] if self.claim_is_good else [self.claim]
        stands_against = self.beats_controls is False and self.controls
        suffices = self.suffices and not self.controls.startswith(MAY)
        controls = f"A simple rule suffices. {self.controls}" if suffices else self.controls
        return [*claims, *([controls] if stands_against else []), *([self.cap] if self.cap else [])]


def verdict(run: Run, tests: TestOverview, found: Board) -> Verdict:
    """What the evidence of a run says about its own method."""
    own = found.row(run.info.method)
    compared = control_verdict(run)
    claim, is_good = _claim(run, own)
    further, alone = [], lds_alone(run)
    cap = "" if alone is None else alone.sentence
    cap_is_low = alone is not None and alone.cap == "low"
    if own.fixed is None and own.lds is not None:
        goes_by = "LDS alone" if compared.beats is None else "LDS and the controls"
        further.append(f"{why_no_fixed_lds(run)} {cap or f'Trust goes by {goes_by}.'}")
    best = _best(found)
    if best is not None and best.method != own.method and _is_above(best, own):
        brought = ", which was judged here," if best.is_judged else ""
        further.append(f"{best.title}{brought} reaches more: {_figure('LDS', best.lds, best.ci_low, best.ci_high)}.")
    blind = blindness(run, tests)
    if sees_nothing(run):
        follow = ONLY_COUNTS if run.info.has_classes else "the targets of a half"
        claim = f"The models see nothing of their inputs: whatever LDS says, the scores only follow {follow}."
        is_good = False
    elif blind.tests.any():
        n = int(blind.tests.sum())
        further.append(f"{n:,} of {run.info.n_test:,} explanations cannot be trusted at all. {blind.reason}")
    return Verdict(
        claim,
        is_good,
        _figures(own, found),
        compared.verdict,
        further,
        compared.beats,
        compared.suffices,
        cap,
        cap_is_low,
    )


def _claim(run: Run, own: BoardRow) -> tuple[str, bool]:
    """What LDS and LDS at fixed class counts say together, and whether it speaks for the scores."""
    if own.lds is None or own.ci_low is None:
        return "LDS is undefined: the retrained models say the same for every half.", False
    lds = f"LDS {own.lds:.2f}"
    if own.ci_low <= 0:
        return f"{lds}: {own.title} cannot be told from chance.", False
    if own.fixed is None or own.fixed_low is None or own.fixed_high is None:
        return f"{lds}: {own.title} predicts better than chance what retrained models say.", True
    both = f"{lds}, but {own.fixed:.2f} at fixed class counts"
    if own.fixed < NEAR_ZERO and own.fixed_low <= 0 and own.ci_low > own.fixed_high:
        return f"{both}: the scores only follow {ONLY_COUNTS}.", False
    if own.fixed_low <= 0:
        return f"{both}, which cannot be told from chance: the scores may only follow {ONLY_COUNTS}.", False
    if own.lds - own.fixed >= APART:
        return f"{both}: a part of it only follows {ONLY_COUNTS}. Trust goes by the lower of the two.", True
    if own.fixed - own.lds >= APART:
        return f"{lds}, and {own.fixed:.2f} at fixed class counts. Trust goes by the lower of the two.", True
    return (
        f"LDS {own.lds:.2f}, and {own.fixed:.2f} at fixed class counts: the scores say more than {ONLY_COUNTS}.",
        True,
    )


def _best(found: Board) -> BoardRow | None:
    """The best row that is no baseline and no control."""
    return next((row for row in found.rows if row.kind in ("method", "judged here") and row.lds is not None), None)


def _is_above(best: BoardRow, own: BoardRow) -> bool:
    """True where the interval of one lies above that of the other."""
    return own.ci_high is None or (best.ci_low is not None and best.ci_low > own.ci_high)


def _figures(own: BoardRow, found: Board) -> list[str]:
    lines = []
    if own.lds is not None:
        lines.append(_figure("LDS", own.lds, own.ci_low, own.ci_high, found.noise_ceiling, own.share))
    if own.fixed is not None:
        numbers = (own.fixed, own.fixed_low, own.fixed_high, own.fixed_ceiling, own.fixed_share)
        lines.append(_figure("At fixed class counts: LDS", *numbers))
    return lines


def _figure(
    name: str,
    value: float | None,
    low: float | None,
    high: float | None,
    ceiling: float | None = None,
    share: float | None = None,
) -> str:
    """An LDS with its ceiling, the share of it that is reached, and its interval."""
    notes = [] if ceiling is None else [f"best possible {ceiling:.2f}"]
    notes += [] if share is None or share <= 0 else [f"{share:.0%} of it" if share < 1 else "all of it"]
    notes += [] if low is None or high is None else [f"95% interval {low:.2f} to {high:.2f}"]
    return f"{name} {0.0 if value is None else value:.2f}" + (f" ({', '.join(notes)})" if notes else "")
