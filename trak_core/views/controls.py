"""What negative controls say about a method: whether a simple rule does as well."""

from dataclasses import dataclass

from trak_core.evidence.controls import beats_controls
from trak_core.store.run import Run


@dataclass(frozen=True)
class Rival:
    """A negative control that a method does not beat."""

    title: str  # of the control
    its: float  # its LDS
    own: float  # that of the method
    is_better: bool  # True where the whole interval of the difference is on its side

    @property
    def does(self) -> str:
        """That it does as well, or better."""
        return f"{self.title} does {'better' if self.is_better else 'as well'}"

    @property
    def figures(self) -> str:
        """Both numbers in words."""
        return f"{self.its:.2f} against {self.own:.2f}"


@dataclass(frozen=True)
class ControlVerdict:
    """A method beside the controls of its run, by paired 95% intervals of the differences."""

    title: str  # of the method
    beats: bool | None  # at fixed class counts where these are measured, else by LDS; None where nothing was compared
    by_fixed: bool  # whether LDS at fixed class counts is measured
    rivals: tuple[Rival, ...]  # controls that it does not beat by LDS, best first
    fixed_rivals: tuple[Rival, ...]  # the same at fixed class counts
    has_controls: bool = True  # False in runs of older versions, which have none

    @property
    def verdict(self) -> str:
        """What the controls say, whichever way: that they are beaten, or which is not; empty where nothing is known."""
        if not self.has_controls:
            return "Negative controls are not measured in this run; measuring every method adds them."
        return self.sentence or (f"{self.title} beats every negative control." if self.beats else "")

    @property
    def sentence(self) -> str:
        """That a simple rule does as well, and which; empty where none does."""
        if self.rivals and not self.fixed_rivals and self.by_fixed and self.beats:
            rival = self.rivals[0]
            return f"{rival.does}: LDS {rival.figures}; at fixed class counts {self.title} beats every control."
        found = [f"{_best(self.rivals, 'LDS ')}."] if self.rivals else []
        if self.fixed_rivals:
            found.append(f"At fixed class counts {_best(self.fixed_rivals)}.")
        return " ".join(found)


def control_verdict(run: Run, method: str | None = None) -> ControlVerdict:
    """What the controls of a run say about a method, the run's own one by default.

    Raises:
        NotInRunError: the run has no such method.
    """
    method = run.check_method(method)
    summary = "SELECT lds, lds_fixed FROM lds_summary WHERE method = ? ORDER BY n_checkpoints DESC LIMIT 1"
    of_method = run.rows(summary, [method])
    own, own_fixed = of_method[0] if of_method else (None, None)
    rows = run.rows(
        "SELECT title, c.ci_low, c.ci_high, c.fixed_low, c.fixed_high, s.lds, s.lds_fixed "
        "FROM control_comparisons c JOIN methods m ON m.method = c.control JOIN lds_summary s ON s.method = c.control "
        "WHERE c.method = ? QUALIFY s.n_checkpoints = max(s.n_checkpoints) OVER (PARTITION BY c.control) "
        "ORDER BY c.control",
        [method],
    )
    ends = [row[3] if own_fixed is not None else row[1] for row in rows]
    return ControlVerdict(
        title=run.method_titles[method],
        beats=beats_controls(ends),
        by_fixed=own_fixed is not None,
        rivals=_rivals([(title, low, high, its, own) for title, low, high, _, _, its, _ in rows]),
        fixed_rivals=_rivals([(title, low, high, its, own_fixed) for title, _, _, low, high, _, its in rows]),
        has_controls=bool(run.rows("SELECT 1 FROM methods WHERE is_control LIMIT 1")),
    )


def _rivals(rows: list[tuple[str, float | None, float | None, float | None, float | None]]) -> tuple[Rival, ...]:
    """Of (title, lower end, upper end, its LDS, that of the method) those that are not beaten."""
    found = [
        Rival(title, its, own, is_better=high < 0)
        for title, low, high, its, own in rows
        if low is not None and high is not None and its is not None and own is not None and low <= 0
    ]
    return tuple(sorted(found, key=lambda rival: -rival.its))


def _best(rivals: tuple[Rival, ...], measure: str = "") -> str:
    """What the best of the rules reaches, and how many others are not beaten."""
    others = len(rivals) - 1
    more = "" if not others else f" ({others} other simple rule{' is' if others == 1 else 's are'} not beaten either)"
    return f"{rivals[0].does}: {measure}{rivals[0].figures}{more}"
