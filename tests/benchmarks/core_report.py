"""Targets and whether they were met, for `attribution_core.py`."""

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Report"]

Bound = Literal["at least", "at most"]


@dataclass(frozen=True)
class _Verdict:
    what: str
    figure: float
    bound: Bound
    target: float
    unit: str

    @property
    def passed(self) -> bool:
        """False for NaN, whatever the bound."""
        return self.figure >= self.target if self.bound == "at least" else self.figure <= self.target

    def __str__(self) -> str:
        figure, target = f"{self.figure:.4g}{self.unit}", f"{self.target:g}{self.unit}"
        return f"{'PASS' if self.passed else 'FAIL'}  {self.what:72} {figure:>12}  {self.bound} {target}"


@dataclass
class Report:
    """Prints figures as they come and keeps those with a target for the summary."""

    _verdicts: list[_Verdict] = field(default_factory=list)
    _skipped: list[str] = field(default_factory=list)

    def section(self, title: str) -> None:
        """Begins a section."""
        print(f"\n## {title}\n", flush=True)

    def say(self, text: str) -> None:
        """Prints a figure that has no target."""
        print(f"      {text}", flush=True)

    def check(self, what: str, figure: float, bound: Bound, target: float, unit: str = "") -> None:
        """Prints a figure with its target, and remembers both."""
        verdict = _Verdict(what, figure, bound, target, unit)
        self._verdicts.append(verdict)
        print(verdict, flush=True)

    def skip(self, section: str, reason: str) -> None:
        """Remembers a section that could not be measured."""
        self._skipped.append(f"SKIP  {section}: {reason}")
        print(self._skipped[-1], flush=True)

    def finish(self) -> bool:
        """Prints the summary; returns whether every target was met."""
        self.section("summary")
        for line in [*self._verdicts, *self._skipped]:
            print(line)
        failed = sum(not verdict.passed for verdict in self._verdicts)
        print(f"\n{len(self._verdicts)} targets: {len(self._verdicts) - failed} met, {failed} missed")
        return failed == 0
