"""Commands that look into runs and check them."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from trak_core.commands.once import Command
from trak_core.commands.terminal import clear_errors, number
from trak_core.evidence.verification import verify
from trak_core.folders import runs_dir
from trak_core.store.catalog import RunSummary, find_run, list_runs
from trak_core.store.progress import read_status
from trak_core.store.run import open_run
from trak_core.views.model_quality import quality_of
from trak_core.views.run_facts import facts_text, run_facts


@click.command(cls=Command)
def runs() -> None:
    """List the runs that there are."""
    with clear_errors():
        summaries = list_runs()
    if not summaries:
        click.echo(f"No run in {runs_dir()} yet; `python -m trak_core build digits` makes one.")
    for summary in summaries:
        click.echo(_line(summary))


def _line(summary: RunSummary) -> str:
    parts = [f"{summary.name:20} {summary.state:9}"]
    if summary.n_train is not None:
        parts.append(f"{summary.n_train:,} train, {summary.n_test:,} test")
    if summary.can_open and (learnt := _learnt(summary.path)):
        parts.append(learnt)
    if summary.lds is not None:
        parts.append(f"LDS {number(summary.lds)}, noise ceiling {number(summary.noise_ceiling)}")
    if summary.build is not None and summary.state == "building":
        parts.append(f"{summary.build.step}, {summary.build.fraction:.0%}")
    if summary.problem:
        parts.append(summary.problem)
    return "  ".join(parts)


def _learnt(run_dir: Path) -> str:
    """How good the models of a run are, in a few words; empty where that is not known."""
    with open_run(run_dir) as run:
        quality = quality_of(run)
    if quality is None:
        return ""
    not_beaten = "not shown to be beaten" if quality.is_above_guess else "not beaten"
    beaten = "" if quality.beats_guess else f", {'majority' if quality.guess_name else 'mean'} {not_beaten}"
    return f"{quality.measure} {number(quality.value)}{beaten}"


@click.command(cls=Command)
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(run: str, as_json: bool) -> None:
    """Tell what RUN (a name or a path) has learnt, how far it can be trusted, and what it is made of."""
    with clear_errors():
        run_dir = find_run(run)
        with open_run(run_dir) as opened:
            facts = run_facts(opened, read_status(run_dir), round(_size(run_dir) / 1e6, 1))
            click.echo(json.dumps(facts, indent=2) if as_json else facts_text(opened, facts))


def _size(run_dir: Path) -> int:
    return sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file())


@click.command(name="verify", cls=Command)
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify_command(run: str, as_json: bool) -> None:
    """Check that RUN (a name or a path) says the same in all its parts."""
    with clear_errors(), open_run(find_run(run)) as opened:
        checks = verify(opened)
    is_ok = all(check.ok for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": is_ok, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        for check in checks:
            click.echo(f"{'ok  ' if check.ok else 'FAIL'} {check.name}{': ' + check.detail if check.detail else ''}")
    if not is_ok:
        raise SystemExit(1)
