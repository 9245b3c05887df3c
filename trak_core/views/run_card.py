"""What a card says of a run: whether its models have learnt anything, and how far its explanations can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

from trak_core.store.run import Run
from trak_core.views.browse import overview
from trak_core.views.evidence import board
from trak_core.views.model_quality import learnt_sentence, mark_of, quality_of, trust_counts, trust_sentence
from trak_core.views.no_trust import NoTrust, why_no_trust
from trak_core.views.verdict import verdict

FAITHFUL_ALONE = "LDS says how faithful explanations are to these models, not that these have learnt anything."


@dataclass(frozen=True)
class RunCard:
    """The truth about a run in a few sentences, in the order in which they are to be read."""

    learnt: str  # whether the models have learnt anything
    mark: str  # that they are no better than a guess, or not shown to be; empty where they are
    trust: str  # the share of explanations at each level of trust; empty where it is not measured
    doubts: tuple[str, ...]  # what speaks against the LDS of the run, a sentence each; empty where nothing does
    no_trust: NoTrust | None  # why trust is not measured, of a run with scores; None where it is


def run_card(run: Run) -> RunCard:
    """What the card of a run says, as far as the run has got."""
    tests = overview(run)
    quality = quality_of(run, tests)
    mark, trust, doubts = mark_of(quality), "", list[str]()
    if run.has_lds:
        trust = trust_sentence(run, trust_counts(run, tests))
        doubts = verdict(run, tests, board(run)).doubts + ([FAITHFUL_ALONE] if mark else [])
    no_trust = why_no_trust(run, is_busy=False) if run.has_scores else None
    return RunCard(learnt_sentence(quality), mark, trust, tuple(doubts), no_trust)
