"""The command line: what it prints, and its exit status."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from trak_core.__main__ import cli
from trak_core.store.run import open_run
from trak_core.subjects import RECIPES
from trak_core.views.evidence import board_text

ROOT = Path(__file__).resolve().parents[1]


def trak(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What a command gives, run in this process."""
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


@pytest.mark.parametrize(("command", "status"), [("recipes", 0), ("explode", 2)])
def test_the_status_of_a_command_is_that_of_its_process(command, status):
    command_line = [sys.executable, "-m", "trak_core", command]
    assert subprocess.run(command_line, cwd=ROOT, capture_output=True).returncode == status


def test_recipes_lists_every_recipe():
    result = trak("recipes")
    assert result.returncode == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(RECIPES)


def test_runs_without_any_says_how_to_make_one(no_runs):
    result = trak("runs")
    assert result.returncode == 0
    assert "`python -m trak_core build digits` makes one" in result.stdout


def test_runs_shows_state_and_lds(runs):
    result = trak("runs")
    assert result.returncode == 0
    assert "digits" in result.stdout and "ready" in result.stdout and "LDS 0." in result.stdout


def test_info_prints_json(runs):
    facts = json.loads(trak("info", "digits", "--json").stdout)
    assert facts["n_train"] == 1437
    assert facts["n_test"] == 360
    assert facts["lds"]["n_subsets"] == 16
    assert facts["meta.seed"] == 0
    assert "n_train" in trak("info", "digits").stdout


def test_verify_passes_a_good_run_and_fails_a_changed_one(runs):
    good = trak("verify", "digits", "--json")
    assert good.returncode == 0
    assert json.loads(good.stdout)["ok"] is True
    (runs / "digits" / "checkpoints" / "model_1.safetensors").write_bytes(b"changed")
    bad = trak("verify", "digits")
    assert bad.returncode == 1
    assert "FAIL checkpoints are the files that were trained: model_1.safetensors has other content" in bad.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["build", "digit"],
            "no recipe 'digit'; there are: digits, docstrings, docs-lm, docs-bert, docs-t5. Did you mean 'digits'?",
        ),
        (["info", "nope"], "no run 'nope' (there are: digits)"),
        (["verify", "nope"], "no run 'nope'"),
        (["build", "digits", "--seed", "5"], "other settings"),
        (["build", "digits", "--name", "../x"], "run name '../x' will not do"),
        (["build", "digits", "--n-subsets", "2"], "n_subsets=2; it must be from 20"),
        (["build", "digits", "--seed", "x"], "'x' is not a valid integer"),
        (["build", "digits", "--device", "tpu"], "'tpu' is not one of"),
        (["explode"], "No such command 'explode'"),
        (["evidence", "digits", "--method", "magik"], "there is no method 'magik'; there are: trak,"),
        (["evidence", "nope"], "no run 'nope' (there are: digits)"),
    ],
)
def test_input_errors_are_one_clear_line_and_status_2(runs, arguments, message):
    result = trak(*arguments)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert len([line for line in result.stderr.splitlines() if "rror: " in line]) == 1


@pytest.mark.slow
def test_evidence_prints_the_board(runs):
    sizes = ["--removal-tests", "0", "--truth-subsets", "0", "--datamodel-subsets", "0"]
    measured = trak("evidence", "digits", "--method", "random", "--method", "nearest", *sizes)
    assert measured.returncode == 0, measured.stderr
    with open_run(runs / "digits") as run:
        assert measured.stdout == board_text(run)
        assert f"Nearest neighbours, same class             3 {run.lds('nearest').mean:9.3f}" in measured.stdout


def test_a_damaged_and_a_newer_store_are_input_errors(runs):
    store = runs / "digits" / "store.duckdb"
    store.write_bytes(b"x" * 5000)
    result = trak("info", "digits")
    assert result.returncode == 2
    assert "is damaged and cannot be read" in result.stderr
    assert trak("runs").returncode == 0


def test_listing_and_looking_need_no_torch():
    """Torch takes seconds to import; the explorer and the looking commands must not wait for it."""
    heavy = "{'torch', 'transformers', 'peft', 'bm25s'}"
    check = f"import sys, trak_core, trak_core.__main__; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT).returncode == 0
