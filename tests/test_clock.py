"""Builds within minutes: what always comes, where the ledger stops, and how it goes on."""

import math
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from time import sleep
from types import SimpleNamespace

import numpy as np
import pytest

from pages.components.text import for_page
from tests.test_custom_build import images, texts  # noqa: F401
from trak_core.commands.terminal import say_complete
from trak_core.datasets.custom_data import CustomData
from trak_core.engine import clock as clocks
from trak_core.engine.clock import Blocks, Clock, WorkTime, minutes_given
from trak_core.engine.custom_build import CustomBuild, build_custom_data
from trak_core.engine.growth import extend_run
from trak_core.engine.measure import measure_run
from trak_core.engine.measure_settings import MeasureSettings
from trak_core.engine.steps import BuildSteps
from trak_core.errors import InvalidSettingError, NotInRunError
from trak_core.evidence.verification import verify
from trak_core.exchange.evaluating import evaluate
from trak_core.store.progress import read_status
from trak_core.store.run import Run, open_run
from trak_core.views.evidence_to_come import evidence_to_come
from trak_core.views.no_trust import UNDER_WAY, no_trust_in_a_terminal
from trak_core.views.not_measured import why_no_evidence
from trak_core.views.provenance import metadata_table, overdrawn
from trak_core.views.run_facts import facts_text, run_facts

SIZES = {"n_checkpoints": 2, "n_seeds": 2}


class FakeTime:
    """A clock that advances by hand."""

    def __init__(self) -> None:
        self.now = 100.0

        self.computed = 0.0

    def monotonic(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.computed


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(clocks, "time", fake)
    return fake


def build(source: Path, runs_dir: Path, name: str = "own", **asked: object) -> Path:
    return build_custom_data(CustomData("image-folder", source), CustomBuild(**{**SIZES, **asked}), name, runs_dir)  # type: ignore[arg-type]


def problems(run: Run) -> list[str]:
    return [f"{check.name}: {check.detail}" for check in verify(run) if not check.ok]


def ledger(run: Run) -> dict[str, object]:
    """All that the ledger and what follows from it hold, in order."""
    tables = {
        "subsets": "subset_id",
        "outcomes": "subset_id, seed, test_idx",
        "target_outcomes": "subset_id, test_idx",
        "lds": "method, test_idx",
        "lds_summary": "method, n_checkpoints",
        "scores": "method, test_idx",
    }
    hidden = "EXCLUDE (seconds)"
    return {
        table: run.rows(f"SELECT * {hidden if table == 'lds_summary' else ''} FROM {table} ORDER BY {order}")
        for table, order in tables.items()
    }


# --- the clock ------------------------------------------------------------------------------------------------


def test_a_clock_counts_from_its_start_and_what_earlier_starts_took(time):
    clock = Clock(2, spent=30)
    time.now += 50
    assert (clock.spent, clock.left) == (80, 40)
    assert Clock().left == math.inf and not Clock().is_limited


def test_a_block_fits_when_what_the_last_ones_took_and_what_follows_fit(time):
    blocks = Blocks(Clock(1), expected=5)
    assert blocks.fit(10, 10) and not blocks.fit(10, 11)
    blocks.took(2, 30)  # one long block may be chance
    assert blocks.fit(10, 10)
    blocks.took(2, 32)  # two are a busy machine: fifteen seconds each
    assert blocks.seconds_a_unit == 15
    assert blocks.fit(3, 15) and not blocks.fit(4, 10)


@pytest.mark.parametrize("paces", [[2, 60, 2], [60, 2], [2, 60], [2, 2, 60, 3]])
def test_one_block_that_took_long_does_not_decide_what_the_next_are_expected_to_take(time, paces):
    blocks = Blocks(Clock(10), expected=2.5)
    for seconds in paces:
        blocks.took(1, seconds)
    assert 2 <= blocks.seconds_a_unit <= 3


def test_seconds_in_which_a_process_stood_still_are_no_work_and_those_on_a_busy_machine_are(time):
    worked = WorkTime()

    def go_on(seconds: float, computing: float) -> float:
        before = worked.look()
        time.now += seconds
        time.computed += computing
        return worked.look() - before

    assert go_on(4, 4) == 4
    assert go_on(60, 0.5) == 0.5  # suspended
    assert go_on(60, 20) == 60  # a step that takes long, beside two other processes
    assert go_on(3, 0) == 3  # the disk is slow


@pytest.mark.slow
def test_a_suspended_process_has_not_worked_meanwhile():
    script = (
        "import time\nfrom trak_core.engine.clock import WorkTime\nworked = WorkTime()\nprint(1, flush=True)\n"
        "end = time.process_time() + 1.5\nwhile time.process_time() < end: worked.look()\nprint(worked.look())"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGSTOP)
    sleep(12)
    process.send_signal(signal.SIGCONT)
    assert float(process.communicate()[0]) < 11


@pytest.mark.parametrize(
    ("before", "minutes", "expected"), [(2.0, 1.0, 2.0), (2.0, 3.0, 3.0), (2.0, None, None), (None, 3.0, None)]
)
def test_a_build_was_given_the_most_minutes_of_its_starts_and_none_once_one_had_no_limit(before, minutes, expected):
    assert minutes_given(before, Clock(minutes)) == expected


# --- a budget -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hurried(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """A run for which there was no time at all."""
    return build(images, tmp_path_factory.mktemp("runs"), minutes=1e-6)


def test_however_short_the_time_there_are_scores_suspects_and_a_map(hurried):
    with open_run(hurried) as run:
        made = run.info.provenance
        assert np.isfinite(run.scores()).all()
        assert run.rows("SELECT count(*) FROM suspects WHERE signal = 'combined'") == [(run.info.n_train,)]
        assert run.rows("SELECT count(*) FROM layout") == [(run.info.n_train + run.info.n_test,)]
        assert made["complete"] and not run.has_lds
        assert made["n_subsets"] == 0 and made["calibration"] is None
        assert problems(run) == []


def test_a_run_without_evidence_says_what_it_would_take(hurried):
    with open_run(hurried) as run:
        to_come = evidence_to_come(run)
    assert to_come is not None and to_come.n_measured == 0
    assert to_come.sentence.startswith("Not measured yet: about ")
    assert to_come.command == f"python -m trak_core extend own --minutes {to_come.minutes}"


def test_scores_judged_too_early_are_told_the_command_that_makes_the_judges(hurried):
    with open_run(hurried) as run:
        to_come, scores = evidence_to_come(run), run.scores()
    assert to_come is not None and to_come.about in to_come.sentence
    with pytest.raises(NotInRunError) as refused:
        evaluate(hurried, scores, "a")
    said = str(refused.value)
    assert (
        f"`{to_come.command}` makes them, in about {to_come.about}." in said
        and "`python -m trak_core build`" not in said
    )
    assert "“Measure trust” on the page Evidence makes them" in for_page(said)


def test_a_ledger_stops_when_the_time_is_over_and_its_length_is_told(images, tmp_path, monkeypatch):  # noqa: F811
    retrained = BuildSteps._retrain
    monkeypatch.setattr("trak_core.engine.budget.SUBSETS_A_BLOCK", 5)

    def slow(steps: BuildSteps, block: range) -> None:
        retrained(steps, block)
        if block.stop >= 30:  # the machine has become busy
            steps.clock._seconds = steps.clock.spent

    monkeypatch.setattr(BuildSteps, "_retrain", slow)
    with open_run(build(images, tmp_path, minutes=30)) as run:
        made = run.info.provenance
        assert made["n_subsets"] == 30 == run.rows("SELECT count(*) FROM subsets")[0][0]
        assert made["n_subsets_measured"] == run.lds().n_subsets == 20
        to_come = evidence_to_come(run)
    assert to_come is not None and to_come.n_measured == 20 and "Measured on 20 random halves" in to_come.sentence


def test_where_training_diverges_on_the_halves_the_run_says_so_and_has_its_scores(images, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("trak_core.engine.training_step.diverged", lambda models: np.ones(len(models), dtype=bool))
    with open_run(build(images, tmp_path, n_subsets=20)) as run:
        assert np.isfinite(run.scores()).all() and not run.has_lds
        assert evidence_to_come(run) is None
        assert why_no_evidence(run).startswith("Training diverged on 10 of 10 random halves")
        assert problems(run) == []


def test_what_took_longer_than_it_was_given_is_said(hurried, capsys, monkeypatch):
    monkeypatch.setattr("trak_core.views.provenance.A_MOMENT", 0)  # however fast this machine is
    say_complete(hurried)
    said = capsys.readouterr().out
    assert "and was given 0 seconds: suspects, scores and the map come in any case" in said


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ({"minutes": 0.8, "seconds_spent": 86, "n_subsets": 0}, ": suspects, scores and the map come in any case"),
        ({"minutes": 0.8, "seconds_spent": 86, "n_subsets": 130}, "It took 86 seconds and was given 48 seconds, all"),
        ({"minutes": 1, "seconds_spent": 130, "n_subsets": 30}, "It took 2.2 minutes and was given a minute, all"),
        ({"minutes": None, "seconds_spent": 86, "n_subsets": 130}, ""),
        ({"minutes": 2, "seconds_spent": 130, "n_subsets": 130}, ""),
    ],
)
def test_why_a_build_took_longer_than_it_was_given_is_said_only_where_that_is_known(made, expected):
    said = overdrawn(SimpleNamespace(info=SimpleNamespace(provenance=made)))  # type: ignore[arg-type]
    assert expected in said and bool(said) == bool(expected)
    assert "in any case" not in said or not made["n_subsets"]


def test_an_extension_by_number_is_not_held_against_the_minutes_that_were_given(hurried, tmp_path, capsys):
    path = tmp_path / "own"
    shutil.copytree(hurried, path)
    extend_run(path, n_subsets=20)
    with open_run(path) as run:
        assert run.info.provenance["minutes"] is None and overdrawn(run) == ""


def test_starts_with_fewer_minutes_leave_what_was_given_before(images, tmp_path):  # noqa: F811
    build(images, tmp_path, minutes=0.02)
    with open_run(build(images, tmp_path, minutes=1e-6)) as run:
        assert run.info.provenance["minutes"] == 0.02


def test_info_tells_the_command_that_measures_trust_or_finishes_the_build(hurried, images, tmp_path, monkeypatch):  # noqa: F811
    with open_run(hurried) as run:
        said = no_trust_in_a_terminal(run, read_status(hurried))
    assert said.startswith("Trust is not measured yet: about ") and "python -m trak_core extend own --minutes" in said
    retrained = BuildSteps._retrain

    def stop(steps: BuildSteps, block: range) -> None:
        retrained(steps, block)
        if block.start >= steps.build.n_fit:
            raise KeyboardInterrupt

    monkeypatch.setattr(BuildSteps, "_retrain", stop)
    with pytest.raises(KeyboardInterrupt):
        build(images, tmp_path, minutes=30)
    with open_run(tmp_path / "own") as run:
        status = read_status(run.path)
        assert status is not None
        finishing = f"python -m trak_core build image-folder {images} --name own --minutes 30"
        facts = facts_text(run, run_facts(run, status, 1.0))
        said = no_trust_in_a_terminal(run, status)
        assert said.startswith(f"Trust is not measured yet: work on this run was stopped. Go on with: {finishing}")
        assert said.split(". Go on")[0] in facts and "no model was retrained" not in facts
        assert no_trust_in_a_terminal(run, replace(status, state="running")) == UNDER_WAY
    with pytest.raises(NotInRunError, match=f"is not finished; finish it first: `{finishing}"):
        extend_run(tmp_path / "own", minutes=1)


def test_where_training_diverged_info_says_so_and_not_that_nothing_was_retrained(images, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("trak_core.engine.training_step.diverged", lambda models: np.ones(len(models), dtype=bool))
    with open_run(build(images, tmp_path, n_subsets=20)) as run:
        assert no_trust_in_a_terminal(run, None).startswith("Trust is not measured. Training diverged on 10 of 10")


def test_extensions_too_short_for_all_of_the_first_halves_add_up(hurried, tmp_path, monkeypatch):
    path = tmp_path / "own"
    shutil.copytree(hurried, path)
    retrained = BuildSteps._retrain

    def slow(steps: BuildSteps, block: range) -> None:
        retrained(steps, block)
        steps.clock._seconds = steps.clock.spent  # there was time for one block

    done = []
    with monkeypatch.context() as patch:
        patch.setattr(BuildSteps, "_retrain", slow)
        patch.setattr("trak_core.engine.ledger_steps.LEAST_REPORTED", 10_000)  # never time for all of them at once
        for _ in range(2):
            extend_run(path, minutes=30)
            with open_run(path) as run:
                done.append(run.info.provenance["n_subsets"])
                to_come = evidence_to_come(run)
                assert problems(run) == [] and not run.has_lds and to_come is not None
    assert 0 < done[0] < done[1] < 10
    assert to_come.sentence.startswith(f"Not measured yet, {done[1]} of the first 10 random halves are done: about ")
    extend_run(path, n_subsets=20)
    with open_run(path) as run:
        assert run.lds().n_subsets == 10 and problems(run) == []


def test_time_is_kept_for_the_map_only_until_it_is_drawn_and_for_measuring_as_it_was_measured(images, tmp_path):  # noqa: F811
    path = build(images, tmp_path, n_subsets=20)
    with open_run(path) as run:
        pace, made = run.info.provenance["pace"], run.info.provenance
    assert 0 < pace["lds"] < 7 and pace["half_model"] == made["seconds_a_subset"] / SIZES["n_seeds"]
    asked: list[float] = []
    kept = Blocks.fit

    def watch(blocks: Blocks, n_units: int, afterwards: float) -> bool:
        asked.append(afterwards)
        return kept(blocks, n_units, afterwards)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Blocks, "fit", watch)
        extend_run(path, minutes=0.001)
    assert asked == [pytest.approx(pace["lds"] * 1.15, rel=0.01)]  # no map, no scores; thirty halves


def test_time_that_is_too_short_for_more_halves_is_said_to_be(images, tmp_path):  # noqa: F811
    path = build(images, tmp_path, n_subsets=20)
    extend_run(path, minutes=0.0001)
    with open_run(path) as run:
        to_come = evidence_to_come(run)
        assert run.info.provenance["n_subsets"] == 20
        assert to_come is not None
        assert to_come.sentence.startswith("Measured on 10 random halves; ")
        assert to_come.sentence.endswith("was too short: more random halves take 10 seconds at least.")
    extend_run(path, n_subsets=21)
    with open_run(path) as run:
        to_come = evidence_to_come(run)
    assert to_come is not None and to_come.sentence.startswith("Measured on 11 random halves")


# --- growing --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    return build(images, tmp_path_factory.mktemp("runs"), n_subsets=30)


def test_a_ledger_that_grew_later_equals_one_built_at_once(whole, images, tmp_path):  # noqa: F811
    shorter = build(images, tmp_path, n_subsets=20)
    with open_run(shorter) as run, open_run(whole) as other:
        assert np.array_equal(run.scores(), other.scores())  # scores do not depend on the length of the ledger
        assert run.lds().n_subsets == 10
    extend_run(shorter, n_subsets=30)
    with open_run(shorter) as run, open_run(whole) as other:
        assert ledger(run) == ledger(other)
        assert run.info.provenance["n_subsets"] == 30
        assert problems(run) == []


def test_a_ledger_that_begins_later_equals_one_built_at_once(whole, images, tmp_path):  # noqa: F811
    without = build(images, tmp_path, n_subsets=0)
    with open_run(without) as run, open_run(whole) as other:
        assert not np.array_equal(run.scores(), other.scores())  # by the usual ridge, and not calibrated
    extend_run(without, n_subsets=30)
    with open_run(without) as run, open_run(whole) as other:
        assert ledger(run)["outcomes"] == ledger(other)["outcomes"]
        assert np.array_equal(run.scores(), other.scores())
        assert ledger(run) == ledger(other)
        assert problems(run) == []


def test_the_same_command_with_a_longer_ledger_goes_on_with_the_run(whole, images, tmp_path):  # noqa: F811
    build(images, tmp_path, n_subsets=20)
    longer = build(images, tmp_path, n_subsets=30)
    with open_run(longer) as run, open_run(whole) as other:
        assert ledger(run) == ledger(other)


def test_a_budget_that_changed_between_two_starts_goes_on_with_the_run(images, tmp_path, monkeypatch):  # noqa: F811
    path = build(images, tmp_path, minutes=1e-6)
    monkeypatch.setattr("trak_core.engine.growth.MOST_SUBSETS", 20)
    monkeypatch.setattr("trak_core.engine.budget.MOST_SUBSETS", 20)
    build(images, tmp_path, minutes=30)
    with open_run(path) as run:
        assert run.info.provenance["n_subsets"] == 20 and run.has_lds


def test_what_all_starts_and_extensions_took_is_told_beside_the_minutes_given(images, tmp_path):  # noqa: F811
    path = build(images, tmp_path, minutes=1e-6)
    with open_run(path) as run:
        first = run.info.provenance["seconds_spent"]
        assert run.info.provenance["minutes"] == 1e-6 and first > 0
    extend_run(path, minutes=0.02)
    with open_run(path) as run:
        made, table = run.info.provenance, metadata_table(run).set_index("what")["value"]
        assert made["seconds_spent"] > first and made["minutes"] == pytest.approx(0.02, abs=1e-4)
        assert table["minutes"] == f"0.02 given in all, {made['seconds_spent'] / 60:.1f} spent, all starts together"
    build(images, tmp_path, minutes=0.03)
    with open_run(path) as run:
        assert run.info.provenance["seconds_spent"] >= made["seconds_spent"]


@pytest.mark.slow
def test_methods_that_were_measured_are_measured_on_the_longer_ledger_too(images, tmp_path):  # noqa: F811
    path = build(images, tmp_path, n_subsets=20, n_checkpoints=7)
    none = MeasureSettings(("grad_dot", "source"), n_removal_tests=0, n_datamodel_subsets=0, n_truth_subsets=0)
    measure_run(path, none)
    query = "SELECT method, max(n_checkpoints), max(peak_megabytes) > 0 FROM lds_summary GROUP BY 1 ORDER BY 1"
    with open_run(path) as run:
        before = run.rows(query)
    extend_run(path, n_subsets=30)
    with open_run(path) as run:
        assert run.rows(query) == before and ("source", 5, True) in before
        assert {
            method: run.lds(method).n_subsets for method in ("trak", "grad_dot", "source", "grad_norm")
        } == dict.fromkeys(("trak", "grad_dot", "source", "grad_norm"), 20)
        assert problems(run) == []


def test_bad_requests_for_more_evidence_say_what_to_give(whole):
    with pytest.raises(InvalidSettingError, match="give one of the two"):
        extend_run(whole)
    with pytest.raises(InvalidSettingError, match="minutes=0; it must be above 0"):
        extend_run(whole, minutes=0)
    with pytest.raises(InvalidSettingError, match="has 30 random halves: give more than these"):
        extend_run(whole, n_subsets=30)


def test_a_recipe_has_a_ledger_of_fixed_length(small_runs):
    tiny_run = next(path for path in sorted(small_runs.iterdir()) if path.is_dir())
    with pytest.raises(NotInRunError, match="has a ledger of a fixed length"):
        extend_run(tiny_run, minutes=1)
    with open_run(tiny_run) as run:
        assert evidence_to_come(run) is None


def test_settings_of_a_growing_run_differ_by_what_its_scores_depend_on_alone():
    from tests.tiny import TINY
    from trak_core.engine.settings import BuildSettings

    subject = TINY.load()
    settings = BuildSettings.of(TINY, 0, "cpu", grows=True, n_fit=10)
    longer = replace(settings, n_subsets=settings.n_subsets + 7, subsets_a_block=3)
    assert settings.fingerprint(subject) == longer.fingerprint(subject)
    assert settings.fingerprint(subject) != replace(settings, n_fit=11).fingerprint(subject)
    assert settings.fingerprint(subject) != BuildSettings.of(TINY, 0, "cpu").fingerprint(subject)


def test_an_extension_that_was_killed_is_whole_and_goes_on_with_the_build_command(images, tmp_path, monkeypatch):  # noqa: F811
    path = build(images, tmp_path, n_subsets=0)

    def stop(status: object) -> None:
        if getattr(status, "step", "") == "measuring the evidence":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extend_run(path, n_subsets=20, listener=stop)
    with open_run(path) as run:
        assert problems(run) == []
    build(images, tmp_path, n_subsets=20)
    with open_run(path) as run:
        assert run.has_lds and run.info.provenance["n_subsets"] == 20
        assert problems(run) == []
