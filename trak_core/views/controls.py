"""What negative controls say about a method: whether a simple rule does as well, or may do."""

from dataclasses import dataclass

from trak_core.evidence.controls import beats_controls
from trak_core.evidence.lds import side_by_side
from trak_core.store.run import Run

MAY = "A simple rule may do as well"


@dataclass(frozen=True)
class Rival:
    """A negative control beside a method."""

    title: str  # of the control
    its: float  # its LDS
    own: float  # that of the method
    is_better: bool  # True where the whole interval of the difference is on its side

    @property
    def suffices(self) -> bool:
        """True where it does as well, or better: as its number is shown, it is at least that of the method."""
        return self.is_better or round(self.its, 2) >= round(self.own, 2)

    def says(self, n_subsets: int, measure: str = "") -> str:
        """What it does with both numbers, as a clause; where it is lower and yet not beaten, that it may do as well.

        `measure` is the name of the number, where it is not told before.
        """
        figures = f"{measure}{self.its:.2f} against {self.own:.2f}"
        if self.suffices:
            return f"{self.title} does {'better' if self.is_better else 'as well'}: {figures}"
        title = self.title[:1].lower() + self.title[1:]
        halves = f"{n_subsets:,} random halves do not tell them apart"
        return f"{MAY}: {title} reaches {figures}, and {halves}"


@dataclass(frozen=True)
class ControlVerdict:
    """A method beside the controls of its run, by paired 95% intervals of the differences."""

    title: str  # of the method
    beats: bool | None  # at fixed class counts where these are measured, else by LDS; None where nothing was compared
    by_fixed: bool  # whether LDS at fixed class counts is measured
    rivals: tuple[Rival, ...]  # controls that it does not beat by LDS, best first
    fixed_rivals: tuple[Rival, ...]  # the same at fixed class counts
    has_controls: bool = True  # False in runs of older versions, which have none
    n_subsets: int = 0  # random halves that all are measured on
    strongest: Rival | None = None  # the control of the highest number that `beats` goes by; None where none has one

    @property
    def verdict(self) -> str:
        """What the controls say, whichever way: that they are beaten, or which is not; empty where nothing is known."""
        if not self.has_controls:
            return "Negative controls are not measured in this run; measuring every method adds them."
        if self.sentence or not self.beats:
            return self.sentence
        beaten = f"{self.title} beats every negative control"
        if self.strongest is None:
            return f"{beaten}."
        where = "at fixed class counts the strongest" if self.by_fixed else "the strongest"
        figures = f"LDS {side_by_side(self.strongest.its, self.strongest.own)}"
        return f"{beaten}; {where}, {self.strongest.title}, reaches {figures}."

    @property
    def suffices(self) -> bool:
        """True where a simple rule does as well by what `beats` goes by, and False where none does or one only may."""
        rivals = self.fixed_rivals if self.by_fixed else self.rivals
        return self.beats is False and bool(rivals) and rivals[0].suffices

    @property
    def sentence(self) -> str:
        """That a simple rule does as well, or may do, and which; empty where all are beaten."""
        if self.rivals and not self.fixed_rivals and self.by_fixed and self.beats:
            said = self.rivals[0].says(self.n_subsets, "LDS ")
            return f"{said}; at fixed class counts {self.title} beats every control."
        found = [f"{self._best(self.rivals, 'LDS ')}."] if self.rivals else []
        if self.fixed_rivals:
            said = self._best(self.fixed_rivals)
            said = said if self.fixed_rivals[0].suffices else said[:1].lower() + said[1:]
            found.append(f"At fixed class counts {said}.")
        return " ".join(found)

    def _best(self, rivals: tuple[Rival, ...], measure: str = "") -> str:
        """What the best of the rules does, and how many others are not beaten."""
        others = len(rivals) - 1
        more = (
            "" if not others else f" ({others} other simple rule{' is' if others == 1 else 's are'} not beaten either)"
        )
        return f"{rivals[0].says(self.n_subsets, measure)}{more}"


def control_verdict(run: Run, method: str | None = None) -> ControlVerdict:
    """What the controls of a run say about a method, the run's own one by default.

    Raises:
        NotInRunError: the run has no such method.
    """
    method = run.check_method(method)
    summary = "SELECT lds, lds_fixed, n_subsets FROM lds_summary WHERE method = ? ORDER BY n_checkpoints DESC LIMIT 1"
    of_method = run.rows(summary, [method])
    own, own_fixed, n_subsets = of_method[0] if of_method else (None, None, 0)
    rows = run.rows(
        "SELECT title, c.ci_low, c.ci_high, c.fixed_low, c.fixed_high, s.lds, s.lds_fixed "
        "FROM control_comparisons c JOIN methods m ON m.method = c.control JOIN lds_summary s ON s.method = c.control "
        "WHERE c.method = ? QUALIFY s.n_checkpoints = max(s.n_checkpoints) OVER (PARTITION BY c.control) "
        "ORDER BY c.control",
        [method],
    )
    by_fixed = own_fixed is not None
    # Of title, both ends, its number and that of the method.
    plain = [(title, low, high, its, own) for title, low, high, _, _, its, _ in rows]
    at_fixed = [(title, low, high, its, own_fixed) for title, _, _, low, high, _, its in rows]
    ends = [row[1] for row in (at_fixed if by_fixed else plain)]
    rivals, fixed_rivals = _rivals(plain), _rivals(at_fixed)
    return ControlVerdict(
        title=run.method_titles[method],
        beats=beats_controls(ends),
        by_fixed=by_fixed,
        rivals=tuple(rival for rival, is_beaten in rivals if not is_beaten),
        fixed_rivals=tuple(rival for rival, is_beaten in fixed_rivals if not is_beaten),
        has_controls=bool(run.rows("SELECT 1 FROM methods WHERE is_control LIMIT 1")),
        n_subsets=n_subsets,
        strongest=next((rival for rival, _ in (fixed_rivals if by_fixed else rivals)), None),
    )


def _rivals(
    rows: list[tuple[str, float | None, float | None, float | None, float | None]],
) -> list[tuple[Rival, bool]]:
    """The controls among (title, lower end, upper end, its LDS, that of the method), best first, and if beaten."""
    found = [
        (Rival(title, its, own, is_better=high < 0), low > 0)
        for title, low, high, its, own in rows
        if low is not None and high is not None and its is not None and own is not None
    ]
    return sorted(found, key=lambda each: -each[0].its)
