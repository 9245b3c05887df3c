"""When a review may stop, and who gave its verdicts."""

from collections import Counter
from dataclasses import dataclass

from trak_core.store.reviews import ReviewLog
from trak_core.views.review import RECENT, SuspectQueue

FEW = 2
"""Errors among the last 50 that still say: stop."""
SURE = 0.95
MOST_NAMES = 5


@dataclass(frozen=True)
class StopAdvice:
    """What the last verdicts say of going on."""

    n: int  # verdicts that it rests on
    n_errors: int  # of them, those that found the label wrong
    upper: float  # share of errors among such labels that is exceeded with a chance of 5% at most
    may_stop: bool  # True when reviewing on finds few

    @property
    def in_words(self) -> str:
        """The advice as a sentence or two."""
        held = f"The last {self.n} held {self.n_errors} error{'' if self.n_errors == 1 else 's'}"
        if not self.may_stop:
            return f"{held}: go on."
        return f"{held} (at most {self.upper:.0%} of such labels, 95% sure). Reviewing on finds few: you can stop here."


def stop_advice(queue: SuspectQueue) -> StopAdvice | None:
    """Whether the review of a queue may stop; None before 50 of its labels are decided.

    It may when at most 2 of the last 50 decided were errors: suspects come in the order of suspicion, so what follows
    hardly holds more. The bound is the exact upper end of a one-sided 95% interval of a binomial share, 12% for 2 of
    50. Source: Clopper & Pearson 1934.
    """
    if queue.n_recent < RECENT:
        return None
    from scipy.special import betaincinv  # takes a moment to import, and few pages need it

    n, k = queue.n_recent, queue.n_recent_errors
    upper = 1.0 if k == n else float(betaincinv(k + 1, n - k, SURE))
    return StopAdvice(n, k, upper, k <= FEW)


def reviewers_in_words(log: ReviewLog) -> str | None:
    """How many examples each reviewer has judged, and on how many they differ; None for fewer than two reviewers."""
    counts = Counter(reviewer for _, reviewer in log.by_reviewer)
    if len(counts) < 2:
        return None
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = ", ".join(f"{name} {n:,}" for name, n in most[:MOST_NAMES])
    if len(most) > MOST_NAMES:
        words += f" and {len(most) - MOST_NAMES:,} more"
    return f"{words}; they differ on {len(log.disputed):,}"
