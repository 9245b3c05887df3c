"""What a run is, on one screen: the truth about it first, then its sizes, then how it was made."""

import json
import math
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from trak_core.evidence.fixed_counts import why_not_fixed
from trak_core.evidence.lds_alone import lds_alone
from trak_core.store.progress import BuildStatus
from trak_core.store.run import Lds, Run
from trak_core.views.browse import overview
from trak_core.views.controls import control_verdict
from trak_core.views.label_quality import planted_in_words
from trak_core.views.model_quality import (
    further_sentences,
    learnt_sentence,
    quality_of,
    trust_counts,
    trust_sentence,
)
from trak_core.views.no_trust import no_trust_in_a_terminal
from trak_core.views.provenance import SETTING_TITLES, metadata_table

WIDTH, LINES = 120, 40
LONG = 2000
"""Letters of JSON above which a value is named as long."""
MOST_LINES = 3
"""Of one value."""
NAME_WIDTH = 30
_SHOWN_BEFORE = {"training examples", "test examples"}


def run_facts(run: Run, status: BuildStatus | None, megabytes: float) -> dict[str, Any]:
    """All that is known of a run, in types that JSON has; "long" names the values that fill more than a screen."""
    tests = overview(run)
    quality = quality_of(run, tests)
    facts: dict[str, Any] = {
        "name": run.info.name,
        "path": str(run.path),
        "title": run.info.title,
        "models": [learnt_sentence(quality), *further_sentences(quality)],
        "model_quality": None if quality is None else {**quality.metadata(), "beats_guess": quality.beats_guess},
        "trust": trust_counts(run, tests) if run.has_lds else None,
        "no_trust": None if run.has_lds else no_trust_in_a_terminal(run, status),
        "lds": _lds_facts(run.lds()) if run.has_lds else None,
        "lds_at_fixed_class_counts": _fixed_sentence(run) or None,
        "controls": (control_verdict(run).verdict or None) if run.has_lds else None,
        "trust_capped": (_cap_sentence(run) or None) if run.has_lds else None,
        "n_train": run.info.n_train,
        "n_test": run.info.n_test,
        "methods": list(run.info.methods),
        "n_planted_errors": run.rows("SELECT count(*) FROM planted_errors")[0][0],
        "megabytes": megabytes,
        "build": asdict(status) if status else None,
        **{f"meta.{key}": value for key, value in run.info.provenance.items()},
    }
    return {"long": [key for key, value in facts.items() if len(json.dumps(value)) > LONG], **facts}


def _lds_facts(lds: Lds) -> dict[str, float | int | None]:
    names = ("mean", "ci_low", "ci_high", "noise_ceiling", "n_subsets", "n_seeds")
    # JSON has no NaN: what is undefined is null.
    return {name: value if math.isfinite(value := getattr(lds, name)) else None for name in names}


def facts_text(run: Run, facts: Mapping[str, Any]) -> str:
    """The same as text of at most 40 lines of at most 120 letters.

    Args:
        run: that is told about.
        facts: of `run_facts`.
    """
    trust = facts["no_trust"] if facts["trust"] is None else trust_sentence(run, facts["trust"])
    truth = [
        line
        for said in (*facts["models"], trust, *evidence_sentences(run))
        for line in textwrap.wrap(said, WIDTH, break_on_hyphens=False, break_long_words=False)
    ]
    lines = [f"{facts['name']}: {facts['title']}", facts["path"], "", *truth, ""]
    if (planted := planted_in_words(run)) is not None:
        lines += [planted, ""]
    sizes = {name: facts[name] for name in ("n_train", "n_test", "n_planted_errors", "megabytes")}
    lines += [_line(name, f"{value:,}") for name, value in sizes.items()]
    lines.append(_line("methods", ", ".join(facts["methods"])))
    build = facts["build"]
    if build is not None:
        lines.append(_line("build", f"{build['state']}, {build['step']} {build['message']}".strip()))
    lines.append("")
    made = metadata_table(run)
    told = {*_SHOWN_BEFORE, *([] if planted else [SETTING_TITLES["flip_labels"]])}
    lines += [_line(row.what, row.value) for row in made.itertuples() if row.what not in told]
    kept = [part for line in lines for part in _wrapped(line)]
    if len(kept) > LINES:
        n_more = len(kept) - LINES + 1
        kept = [*kept[: LINES - 1], f"{n_more} more lines; all of it, whole: info {facts['name']} --json"]
    return "\n".join(kept)


def evidence_sentences(run: Run) -> list[str]:
    """What models say that were retrained: LDS, the same at fixed class counts, and whether a simple rule does as well.

    Empty where there is no evidence.
    """
    if not run.has_lds:
        return []
    lds = _lds_facts(run.lds())
    said = "undefined" if lds["mean"] is None else f"{lds['mean']:.3f}"
    if lds["mean"] is not None and lds["ci_low"] is not None:
        said += f" (95% interval {lds['ci_low']:.3f} to {lds['ci_high']:.3f})"
    ceiling = "" if lds["noise_ceiling"] is None else f", noise ceiling {lds['noise_ceiling']:.3f}"
    models = "one model" if lds["n_seeds"] == 1 else f"{lds['n_seeds']} models"
    halves = f"{lds['n_subsets']} random halves with {models} each"
    return [
        f"LDS of {run.method_titles[run.info.method]} {said}{ceiling}, over {halves}.",
        *(said for said in (_fixed_sentence(run), control_verdict(run).verdict, _cap_sentence(run)) if said),
    ]


def _cap_sentence(run: Run) -> str:
    """Why trust is no higher than what LDS alone deserves; empty where that does not apply."""
    alone = lds_alone(run)
    return "" if alone is None else alone.sentence


def _fixed_sentence(run: Run) -> str:
    """LDS of the run's own method at fixed class counts, or why it cannot be measured; empty without any evidence."""
    rows = run.rows(
        "SELECT lds_fixed, fixed_low, fixed_high, fixed_ceiling, n_subsets FROM lds_summary WHERE method = ? "
        "ORDER BY n_checkpoints DESC LIMIT 1",
        [run.info.method],
    )
    if not rows or not run.info.has_classes:
        return ""
    value, low, high, ceiling, n_subsets = rows[0]
    if value is None:
        return why_not_fixed(n_subsets, len(np.unique(run.train_labels))) or "LDS at fixed class counts: not measured."
    interval = "" if low is None else f" (95% interval {low:.3f} to {high:.3f})"
    return (
        f"LDS at fixed class counts {value:.3f}{interval}{'' if ceiling is None else f', its ceiling {ceiling:.3f}'}."
    )


def _line(name: str, value: str) -> str:
    return f"{name:{NAME_WIDTH}} {value}"


def _wrapped(line: str) -> list[str]:
    """The line, or two or three where it is longer than the screen is wide; further ones stand below the value."""
    one = " ".join(line.split("\n")).rstrip()
    if len(one) <= WIDTH:
        return [one]
    return textwrap.wrap(
        one,
        WIDTH,
        subsequent_indent=" " * (NAME_WIDTH + 1),
        max_lines=MOST_LINES,
        placeholder=" …",
        replace_whitespace=False,
        drop_whitespace=True,
    )
