"""Commands and code in the guides that have no test of their own: they run, or are at least such as there are."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

import trak_core as tc
from trak_core.__main__ import cli

ROOT = Path(__file__).resolve().parents[1]
GUIDES = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}
ELSEWHERE = ("custom-data.md", "scores-from-elsewhere.md", "your-own-model.md")
"""Guides whose every command is run by a test of their own."""
SYNOPSIS = GUIDES["command-line.md"].split("```")[1]
HOURS = ("evidence",)
"""Commands that would take too long here: they are parsed, and run with smaller settings by their own tests."""
OF_LANGUAGE = ("docs-lm", "docs-bert", "docs-t5", "passages", "text-to-text")
"""Likewise: what these build is pretrained first, or asks for a model of somebody's own."""
SMALL = {"build": ["--n-checkpoints", "2", "--proj-dim", "8", "--n-subsets", "20", "--n-seeds", "1"]}


def commands() -> list[tuple[str, str]]:
    found = []
    for name, text in GUIDES.items():
        if name in ELSEWHERE or name == "command-line.md":
            continue
        for block in re.findall(r"```(?:bash)?\n(.*?)```", text, re.DOTALL):
            # Remarks stand behind two blanks or more.
            found += [
                (name, re.split(r"\s{2,}|\s#", line)[0]) for line in re.findall(r"^python -m trak_core .*", block, re.M)
            ]
    return found


def parsed(words: list[str]) -> click.Context:
    """The context of the command that words name; usage errors are raised."""
    context: click.Context = cli.make_context("trak_core", list(words))
    while isinstance(context.command, click.Group):
        name, command, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        context = command.make_context(name, list(rest), parent=context)
    return context


@pytest.mark.slow
def test_commands_of_the_guides_run(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(commands()) >= 8
    for guide, command in commands():
        if any(command in GUIDES[name] for name in ELSEWHERE):
            continue
        words = shlex.split(command)[3:]
        if words[0] in HOURS or "--evidence" in words or set(OF_LANGUAGE) & set(words):
            parsed(words)
            continue
        if words[:2] == ["build", "digits"]:
            words = [*words, *SMALL["build"]]
        if words[0] == "what-if":
            if "--seeds" in words:
                words = words[: words.index("--seeds")]
            words = [*words, "--seeds", "2"]
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 0, (guide, command, done.output)


def test_python_of_the_guides_runs_on_a_run(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(runs / "digits", runs / "digits-2")
    Path("data").mkdir()
    Path("data/runs").symlink_to(runs)
    names: dict[str, Any] = {"np": np}
    blocks = {
        name: re.findall(r"```(?:python)?\n(.*?)```", GUIDES[name], re.DOTALL)
        for name in ("runs.md", "label-review.md")
    }
    for name in blocks:
        for code in blocks[name]:
            if "import" in code.split("\n")[0]:
                exec(code, names)
    assert names["found"].rank_correlation == pytest.approx(1.0)
    assert Path("cleaned.csv").read_text(encoding="utf-8").startswith("train_idx,origin,label,")
    (block,) = (
        block for block in re.findall(r"```\n(.*?)```", GUIDES["new-input.md"], re.DOTALL) if "attribute" in block
    )
    with tc.open_run("digits") as run:
        of_images = [line for line in block.splitlines() if "inputs" in line]
        assert len(of_images) == 2
        inputs = np.zeros((2, 64), dtype=np.float32)
        for line in of_images:
            of_line: dict[str, Any] = {"run": run, "inputs": inputs}
            exec(line, of_line)
            assert of_line["scores"].shape == (2, run.info.n_train)


def test_the_synopsis_names_every_command_and_its_options():
    lines = re.sub(r"\n\s+", " ", SYNOPSIS.strip()).splitlines()
    named = {line.split()[3] for line in lines}
    assert named == set(cli.commands), "the synopsis and the program have the same commands"
    for line in lines:
        words = line.split()[3:]
        command: click.Command = cli.commands[words[0]]
        if isinstance(command, click.Group) and len(words) > 1:
            context = click.Context(command)
            kinds = command.list_commands(context)
            chosen = [word for word in words[1:] if word in kinds] or kinds
            below = [command.get_command(context, kind) for kind in chosen]
        else:
            below = [command]
        options = {flag for one in below if one is not None for param in one.params for flag in param.opts}
        told = set(re.findall(r"--[a-z][a-z-]*", line))
        assert told <= options, (words[0], told - options)


def test_benchmarks_of_the_guides_are_there():
    for text in GUIDES.values():
        for path in re.findall(r"python (tests/benchmarks/\w+\.py)", text):
            assert (ROOT / path).is_file(), path
        for module in re.findall(r"python -m (tests\.benchmarks\.\w+)", text):
            assert (ROOT / Path(*module.split(".")).with_suffix(".py")).is_file(), module
