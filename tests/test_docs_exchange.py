"""What the guide to scores from elsewhere tells people to type works."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import trak_core as tc
from trak_core.__main__ import cli
from trak_core.exchange.score_files import LIBRARIES

GUIDE = (Path(__file__).resolve().parents[1] / "docs" / "scores-from-elsewhere.md").read_text(encoding="utf-8")
N_TRAIN, N_TEST = 30, 12


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the guide speaks of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    splits, labels = ["train"] * N_TRAIN + ["test"] * N_TEST, np.arange(N_TRAIN + N_TEST) % 2
    texts = [f"a review with number {i}" for i in range(N_TRAIN + N_TEST)]
    pd.DataFrame({"text": texts, "label": np.where(labels, "good", "bad"), "split": splits}).to_csv("reviews.csv")
    train, test = labels[:N_TRAIN], labels[N_TRAIN:]
    generator = np.random.default_rng(0)
    # As dattri gives them, because one of the commands says so.
    np.save("scores.npy", generator.normal(size=(N_TRAIN, N_TEST)) + (train[:, None] == test[None]))
    np.save("probabilities.npy", generator.dirichlet([1, 1], N_TEST))
    judge(Path("judge.csv"))
    return tmp_path


def judge(table: Path) -> None:
    """A run with retrained models, of the same examples."""
    pd.read_csv("reviews.csv").to_csv(table, index=False)
    arguments = [
        "build",
        "table",
        str(table),
        "--text",
        "text",
        "--label",
        "label",
        "--split",
        "split",
        "--name",
        "judge",
    ]
    sizes = ["--n-checkpoints", "2", "--n-subsets", "20", "--n-seeds", "1"]
    result = CliRunner().invoke(cli, [*arguments, *sizes])
    assert result.exit_code == 0, result.output


def test_every_block_of_the_guide_runs_in_its_order(desk):
    blocks = re.findall(r"```(\w+)\n(.*?)```", GUIDE, re.DOTALL)
    assert [kind for kind, _ in blocks].count("python") == 7 and [kind for kind, _ in blocks].count("bash") == 4
    names: dict[str, Any] = {}
    for kind, code in blocks:
        if kind == "python":
            exec(code, names)
            continue
        for line in code.replace("\\\n", " ").strip().splitlines():
            words = shlex.split(line)
            assert words[:3] == ["python", "-m", "trak_core"]
            result = CliRunner().invoke(cli, words[3:])
            assert result.exit_code == 0, result.output
    scores = np.load("scores.npy").T.astype(np.float32)
    for name in ("reviews", "answered", "mine"):
        with tc.open_run(name) as run:
            assert np.array_equal(run.scores(), scores)
    with tc.open_run("answered") as run:
        assert run.info.method == "TracIn"
    exported = pd.read_parquet("scores.parquet")
    pd.testing.assert_frame_equal(exported, names["scores_table"], check_dtype=False)
    top = pd.read_csv("top.csv")
    pd.testing.assert_frame_equal(top, names["top_table"], check_dtype=False)
    assert len(names["verdicts"]) == 0 and names["examples"].class_names == ("bad", "good")
    names["run"].close()


def test_the_table_of_libraries_says_what_the_program_takes_them_for():
    shapes = {"test-by-train": "`[n_test, n_train]`", "train-by-test": "`[n_train, n_test]`"}
    for library in LIBRARIES.values():
        assert re.search(rf"^\| {library.name} [\d.]+ \| {re.escape(shapes[library.orientation])} \|", GUIDE, re.M)
