"""What the guide to own data tells people to type works."""

import csv
import gzip
import json
import re
import shlex
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from PIL import Image

import trak_core as tc
from tests.test_hf_directory import declared, save_splits
from trak_core.__main__ import cli
from trak_core.datasets import load_digits
from trak_core.datasets.custom_data import DATA_KINDS
from trak_core.datasets.download import COLLECTIONS
from trak_core.engine.budget import LADDER

GUIDE = (Path(__file__).resolve().parents[1] / "docs" / "custom-data.md").read_text(encoding="utf-8")
# What is tried here is that commands work, not how good the evidence is that ten minutes give.
QUICKLY = ["--n-checkpoints", "2", "--n-subsets", "20", "--n-seeds", "1"]
WORDS = {"good": ["fine", "lovely", "warm", "bright"], "bad": ["dull", "awful", "cold", "grim"]}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with small data of every kind that the guide speaks of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    digits = load_digits().train
    pixels = digits.inputs.reshape(-1, 8, 8)
    pixels = np.round(255 * (pixels - pixels.min()) / np.ptp(pixels)).astype(np.uint8)
    for label, name in enumerate(("none", "one", "two")):
        Path("photos", name).mkdir(parents=True)
        for number in np.flatnonzero(digits.labels == label)[:20]:
            Image.fromarray(pixels[number]).save(Path("photos", name, f"{number}.png"))
    draw = np.random.default_rng(0)
    rows = [(" ".join(draw.choice([*WORDS[label], "film", "plot"], 5)), label) for label in ("good", "bad") * 30]
    with Path("reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("review", "verdict"), *rows])
    for name, part in (("train.tsv", rows[:50]), ("dev.tsv", rows[50:])):
        Path(name).write_text("".join(f"{text}\t{label}\n" for text, label in part))
    table = declared(
        pa.table({"text": [text for text, _ in rows], "label": [label == "good" for _, label in rows]}), {}
    )
    save_splits(Path("my-dataset"), train=table[:48], test=table[48:])
    Path("fashion-mnist").mkdir()
    large = np.kron(pixels, np.ones((1, 2, 2), np.uint8))
    # A thousand and a hundred, so that drawing has something to draw from.
    for prefix, at in (("train", slice(0, 1000)), ("t10k", slice(1000, 1100))):
        for kind, values in (("images-idx3", large[at]), ("labels-idx1", digits.labels[at])):
            header = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
            with gzip.open(f"fashion-mnist/{prefix}-{kind}-ubyte.gz", "wb") as file:
                file.write(header + values.astype(np.uint8).tobytes())
    return tmp_path


def commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.strip().splitlines()]


def typed(words: list[str]) -> str:
    assert words[:3] == ["python", "-m", "trak_core"]
    words = [{"5000": "500", "12": "0.05"}.get(word, word) for word in words[3:]]  # small ones, and at once
    done = CliRunner().invoke(cli, [*words, *(QUICKLY if words[0] == "build" else [])])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.slow
def test_every_command_and_block_of_the_guide_runs(desk):
    assert len(commands()) == 8
    for words in commands():
        said = typed(words)
        if words[3] != "extend":
            assert "Duplicates, train examples that repeat" in said
        assert ("is complete" in said) == (words[3] in ("build", "extend"))
        assert ("With 1 minute: suspects after about" in said) == ("--forecast" in words)
    names: dict[str, Any] = {}
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    exec(code, names)
    assert names["run"].info.provenance["data_report"]["n_left_out"] == 0
    built = {"photos", "reviews", "films", "fashion-mnist", "my-dataset"}
    assert {summary.name for summary in tc.list_runs()} == built
    with tc.open_run("films") as run:
        assert run.info.class_names == ("bad", "good")
    with tc.open_run("fashion-mnist") as run:
        assert run.rows("SELECT count(*) FROM examples WHERE split = 'train'") == [(500,)]


@pytest.mark.slow
def test_a_run_holds_no_path_of_the_disk(desk):
    typed(commands()[1])
    with tc.open_run("photos") as run:
        assert str(desk) not in json.dumps(run.info.provenance)


def test_the_table_of_plans_is_the_ladder():
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \|$", GUIDE, re.MULTILINE)
    told = [tuple(map(int, row)) for row in rows]
    ladder = [(sizes.n_checkpoints, sizes.n_subsets, sizes.n_seeds) for sizes in LADDER]
    assert told == [plan for plan in ladder if plan in told]
    assert (told[0], told[-1]) == (ladder[0], ladder[-1])


def test_every_kind_and_every_download_is_in_the_guide():
    assert [kind for kind in DATA_KINDS if f"build {kind}" not in GUIDE] == []
    assert [name for name in COLLECTIONS if f"`{name}`" not in GUIDE and f"download {name}" not in GUIDE] == []
