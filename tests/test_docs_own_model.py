"""What the guide to people's own models tells them to write works."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
import torch
from click.testing import CliRunner
from streamlit.testing.v1 import AppTest

import trak_core as tc
from tests.pretrained import write_tiny_bert
from trak_core.__main__ import cli
from trak_core.engine.budget import Sizes
from trak_core.engine.measure_settings import LADDER
from trak_core.evidence.what_if import as_question
from trak_core.store.run import open_run
from trak_core.subjects import find_model
from trak_core.training import LoopTrainer
from trak_core.training.loop_trainer import try_loop

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "your-own-model.md").read_text(encoding="utf-8")
PARTS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
WHOLE, LOG, BUILT_IN, TRAINED, ATTRIBUTOR, MEASURE, METHODS, TEXTS, NUMBERS, OUTPUTS, OWN_CODE, CALIBRATION = PARTS
# What is tried here is that the lines work, not how good the evidence is that their minutes give.
QUICKLY = {"tc.build(subject, minutes=10)": "tc.build(subject, n_checkpoints=2, n_subsets=20, n_seeds=2)"}
QUICKLY["tc.build(plain, minutes=10)"] = "tc.build(plain, n_checkpoints=2, n_subsets=20, n_seeds=1)"
QUICKLY['tc.measure("mine", minutes=20)'] = 'tc.measure("mine", minutes=0.01, methods=["trak", "grad_dot"])'
QUICKLY['tc.measure("trained")'] = 'tc.measure("trained", methods=["grad_dot", "influence_ekfac"])'
QUICKLY["minutes=20)"] = 'minutes=20, methods=["trak", "grad_dot"])'


def quick(code: str) -> str:
    for slow, fast in QUICKLY.items():
        code = code.replace(slow, fast)
    return code


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, whose data/runs is the directory of runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "data" / "runs"))
    return tmp_path


@pytest.fixture(scope="module")
def mine() -> dict[str, Any]:
    """The names of the first example, without what it builds."""
    names: dict[str, Any] = {}
    exec(WHOLE.partition("tc.build(")[0], names)
    return names


@pytest.mark.slow
def test_ten_lines_give_the_whole_evidence(desk):
    names: dict[str, Any] = {}
    exec(quick(WHOLE), names)
    with tc.open_run("mine") as run:
        assert run.info.n_train == 500
        assert np.isfinite(run.lds("grad_dot").mean) and run.lds("trak").noise_ceiling > 0
        assert as_question(run, 0, [1]).removed == (1,)


def test_the_function_with_a_log_keeps_what_is_needed(mine):
    names = dict(mine)
    exec(LOG, names)
    trainer = LoopTrainer(names["train_with_log"], names["make_model"](), 500)
    try_loop(trainer, 0)
    (log,) = trainer.train_checkpoints([3], 1).logs
    assert len(log.ends) == 5 and log.weight_decay == 1e-3
    assert log.time(0, log.ends[-1].step) == pytest.approx(40 * 0.02 / (1 - 0.9))


@pytest.mark.slow
def test_the_built_in_trainer_takes_the_plain_model(desk, mine):
    exec(quick(BUILT_IN), dict(mine))
    with tc.open_run("plain") as run:
        assert run.has_lds and run.info.provenance["training"]["epochs"] == 15


@pytest.mark.slow
def test_weights_that_are_trained_already_give_scores_and_later_evidence(desk, mine, monkeypatch):
    monkeypatch.setattr("trak_core.engine.subject_build.sizes_within", lambda *_: Sizes(3, 20, 1))
    monkeypatch.setattr("trak_core.engine.saved_run.measure_within", lambda *_: LADDER[-1])
    names = dict(mine)
    exec(quick(TRAINED), names)
    with tc.open_run("trained") as run:
        assert {"grad_dot", "influence_ekfac"} <= set(run.info.methods) and not run.has_lds
    exec(ATTRIBUTOR, names)
    assert names["scores"].shape == (60, 500)
    with open_run(desk / "data" / "runs" / "saved") as run:
        assert "spoke for" in repr(tc.show(run, 0)) and not run.has_lds
    exec(METHODS, names)
    with open_run(desk / "data" / "runs" / "mine-by-influence") as run:
        assert run.info.method == "influence_ekfac"
        assert "spoke for" in repr(tc.show(run, 0))
    exec(quick(MEASURE), names)
    with open_run(desk / "data" / "runs" / "saved") as run:
        assert np.isfinite(run.lds("grad_dot").mean)
    masks = np.random.default_rng(0).uniform(size=(30, 500)) < 0.5
    exec(CALIBRATION, {**names, "masks": masks, "outcomes": masks @ names["scores"].T})


@pytest.mark.slow
def test_the_commands_build_from_a_file_and_verify(desk):
    (desk / "my_subject.py").write_text(WHOLE.partition("tc.build(")[0], encoding="utf-8")
    commands = re.findall(r"^python -m trak_core (.*)$", GUIDE, re.MULTILINE)
    small = {
        "build": ["--n-checkpoints", "2", "--n-subsets", "20", "--n-seeds", "1"],
        "evidence": ["--method", "grad_dot", "--removal-tests", "0", "--datamodel-subsets", "0"],
        "what-if": ["--seeds", "2"],
    }
    assert [command.split()[0] for command in commands] == list(small)
    for command in commands:
        words = [*command.split(), *small[command.split()[0]]]
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 0, (command, done.output)


def test_texts_and_numbers_are_saved_and_shown(desk):
    pytest.importorskip("transformers", reason="transformers is not installed")
    write_tiny_bert(desk / "my-bert")
    for name, n in (("train", 40), ("test", 10)):
        rows = [f"{('bad', 'good')[i % 2]} film {i},{i % 2}" for i in range(n)]
        (desk / f"{name}.csv").write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    for code, name, n_train in ((TEXTS, "my-texts", 40), (NUMBERS, "my-numbers", 200)):
        exec(code, {})
        with tc.open_run(name) as run:
            assert run.info.n_train == n_train
            assert "spoke for" in repr(tc.show(run, 0))
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
        app.query_params["run"] = name
        app.run()
        for page in ("explore", "training_item", "evidence"):
            app.switch_page(f"pages/{page}.py").run()
            assert not app.exception
            assert not app.error
    st.cache_resource.clear()
    st.cache_data.clear()


def test_other_outputs_than_logits_are_explained():
    names: dict[str, Any] = {}
    exec(OUTPUTS, names)
    assert names["scores"].shape == (5, 60)
    assert names["attributor"].plan.gradients == "hooks"


def test_a_network_of_ones_own_is_found_by_its_name(desk, monkeypatch):
    (desk / "guide_nets.py").write_text(OWN_CODE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(desk))
    model = find_model("guide_nets:small", "image").make({"channels": 3, "height": 8, "width": 8, "n_classes": 4})
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 4)
