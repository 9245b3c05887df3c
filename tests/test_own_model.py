"""A person's own model gets everything: a network with BatchNorm and dropout, trained by Adam in a loop of its own."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import trak_core as tc
from tests import own_subject
from tests.conftest import OWN_METHODS, OWN_SIZES
from tests.test_what_if import set_meta
from trak_core.__main__ import cli
from trak_core.engine.retraining import verify_what_if
from trak_core.errors import NeedNotMetError, NotInRunError
from trak_core.evidence.retraining import as_trial
from trak_core.evidence.verification import verify
from trak_core.evidence.what_if import as_question
from trak_core.live.agreement import mean_spearman
from trak_core.live.run import open_run
from trak_core.seeds import derive_seed
from trak_core.store.files import RunFiles
from trak_core.store.retrainings import Corrections
from trak_core.subjects import read_subject_file
from trak_core.training import StepLog


def run_cli(*arguments: str) -> Result:
    done = CliRunner().invoke(cli, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_trak_and_ten_others_are_on_the_board_with_lds_and_ceiling(own_runs):
    with tc.open_run("mine") as run:
        assert set(OWN_METHODS) <= set(run.info.methods)
        for method in OWN_METHODS:
            found = run.lds(method)
            assert np.isfinite(found.mean) and 0 < found.noise_ceiling <= 1, method
        assert run.lds("trak").mean > run.lds("random").mean
        assert [check for check in verify(run) if not check.ok] == []


def test_what_needs_the_built_in_trainer_is_left_out_with_a_reason(own_copy):
    done = run_cli("evidence", "mine", "--method", "magic", "--subject", str(own_copy / "my_subject.py"))
    assert done.exit_code == 2
    assert "a training log that can be replayed step by step" in done.stderr


def test_checkpoints_carry_the_statistics_of_batchnorm_and_say_what_the_model_says(own_runs):
    with open_run(own_runs / "mine") as run:
        seeds = [seed for (seed,) in run.rows("SELECT seed FROM checkpoints ORDER BY checkpoint_id")]
        stored = run.columns(
            "SELECT probabilities[1] AS p FROM predictions WHERE checkpoint_id = 1 AND split = 'test' ORDER BY idx"
        )["p"]
    everybody = np.arange(own_subject.N_TRAIN)
    state = own_subject.train_model(everybody, seeds[1] % 2**31, StepLog(own_subject.make_model(), is_kept=False))
    model = own_subject.make_model().eval()
    model.load_state_dict(state)
    with torch.no_grad():
        expected = model(own_subject.test[0]).softmax(1)[:, 0]
    np.testing.assert_allclose(stored, expected, atol=1e-5)


def test_a_what_if_is_verified_by_the_persons_own_loop(own_runs):
    removed = [3, 8, 21]
    verified = verify_what_if(own_runs / "mine", 5, removed, n_seeds=2)
    with open_run(own_runs / "mine") as run:
        root = run.info.provenance["seed"]
    others = np.setdiff1d(np.arange(own_subject.N_TRAIN), removed)
    changes = []
    for i in range(2):
        seed = derive_seed(root, "what if", i) % 2**31
        margins = []
        for members in (np.arange(own_subject.N_TRAIN), others):
            model = own_subject.make_model().eval()
            model.load_state_dict(own_subject.train_model(members, seed, StepLog(model, is_kept=False)))
            with torch.no_grad():
                p = model(own_subject.test[0][5:6]).double().softmax(1)[0]
            margins.append((p.log() - (-p).log1p()).numpy())
        changes.append(margins[1] - margins[0])
    np.testing.assert_allclose(verified.change, np.mean(changes, 0), atol=1e-3)


def test_a_what_if_on_the_command_line_takes_the_file_that_the_run_names_or_the_one_given(own_copy):
    for more in ([], ["--subject", str(own_copy / "my_subject.py")]):
        done = run_cli("what-if", "mine", "--test", "1", "--top-proponents", "3", "--seeds", "2", *more)
        assert done.exit_code == 0, done.output
        assert "Test example 1 without 3 train examples" in done.output


def test_suspects_findings_and_the_map_are_there(own_runs):
    with open_run(own_runs / "mine") as run:
        n_train, n = run.info.n_train, run.info.n_train + run.info.n_test
        signals = dict(run.rows("SELECT signal, count(*) FROM suspects GROUP BY signal"))
        assert {"combined", "out_of_fold", "training_margin", "self_influence"} <= set(signals)
        assert set(signals.values()) == {n_train}
        assert run.rows("SELECT count(*) FROM layout WHERE space = 'features'")[0][0] in (0, n)
        assert run.rows("SELECT count(DISTINCT (split, idx)) FROM layout")[0][0] == n


def test_new_inputs_are_scored_like_stored_ones(own_runs):
    with open_run(own_runs / "mine") as run:
        live = run.attribute(own_subject.test[0][:6], own_subject.test[1][:6])
        stored = run.scores("trak")[:6]
        assert mean_spearman(live, stored) > 0.9


@pytest.mark.slow
def test_a_build_that_was_stopped_goes_on_and_ends_with_the_same_scores(own_desk, tmp_path):
    n_trained, stop_at = 0, 14

    def train_model(indices, seed, log):
        nonlocal n_trained
        n_trained += 1
        if n_trained == stop_at:
            raise KeyboardInterrupt
        return own_subject.train_model(indices, seed, log)

    subject = replace(read_subject_file(own_desk / "my_subject.py"), train_model=train_model)
    sizes = {"n_checkpoints": 3, "n_subsets": 26, "n_seeds": 2, "progress": False, "runs_dir": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        tc.build(subject, **sizes)
    assert RunFiles(tmp_path / "mine").working_store.exists()
    tc.build(subject, **sizes)
    # Four of a trial, three checkpoints, 52 of the ledger, ten that look at labels; nine of these were cut short.
    assert n_trained <= 4 + 3 + 52 + 10 + 9
    with open_run(tmp_path / "mine") as run, open_run(own_desk / "runs" / "mine") as unbroken:
        assert np.array_equal(run.scores("trak"), unbroken.scores("trak"))
        assert run.rows("SELECT * FROM outcomes ORDER BY ALL") == unbroken.rows("SELECT * FROM outcomes ORDER BY ALL")


# --- where the subject is -----------------------------------------------------------------------------------------


def test_a_file_that_changed_is_not_run(own_copy):
    file = own_copy / "my_subject.py"
    file.write_text(file.read_text() + f"\nopen({str(own_copy / 'was_run')!r}, 'w').close()\n")
    sources = own_copy / "runs" / "mine" / "sources.json"
    sources.write_text(sources.read_text().replace(str(_built_from(sources)), str(file)))
    with tc.open_run("mine") as run:
        with pytest.raises(NotInRunError, match=r"has changed since; put the old one back"):
            as_question(run, 1, [2])
        with pytest.raises(NeedNotMetError, match="has changed since"):
            run.attribute(own_subject.test[0][:1])
    assert not (own_copy / "was_run").exists()
    done = run_cli("what-if", "mine", "--test", "1", "--remove", "2", "--subject", str(file))
    assert done.exit_code == 2 and "was built from another subject than my_subject.py" in done.stderr


def _built_from(sources: Path) -> str:
    return str(json.loads(sources.read_text())["subject"])


def test_a_file_that_is_gone_is_named_and_one_in_the_current_folder_is_found(own_copy, monkeypatch):
    (own_copy / "runs" / "mine" / "sources.json").unlink()  # as on the machine of whoever the run was sent to
    monkeypatch.chdir(own_copy / "runs")
    with tc.open_run("mine") as run:
        with pytest.raises(NotInRunError, match=r"was built from my_subject\.py, which is not here"):
            as_question(run, 1, [2])
        monkeypatch.chdir(own_copy)
        assert as_question(run, 1, [2]).test_idx == 1
        # Whoever sends a run may put files into it.
        shutil.move(own_copy / "my_subject.py", own_copy / "runs" / "mine" / "my_subject.py")
        monkeypatch.chdir(own_copy / "runs" / "mine")
        with pytest.raises(NotInRunError, match="not here"):
            as_question(run, 1, [2])


def test_a_run_from_elsewhere_cannot_point_at_files_of_this_machine(own_copy, monkeypatch):
    (own_copy / "runs" / "mine" / "sources.json").unlink()
    set_meta(own_copy / "runs" / "mine", "subject", str(own_copy / "my_subject.py"))
    monkeypatch.chdir(own_copy / "runs")
    with tc.open_run("mine") as run, pytest.raises(NotInRunError, match="not here"):
        as_question(run, 1, [2])


def test_a_run_does_not_hold_where_its_file_lies(own_runs, own_desk):
    with tc.open_run("mine") as run:
        assert run.info.provenance["subject"] == "my_subject.py"
        assert str(own_desk) not in str(run.rows("SELECT * FROM meta"))


def test_another_subject_is_refused(own_copy):
    other = own_copy / "other.py"
    other.write_text((own_copy / "my_subject.py").read_text().replace("lr=0.01", "lr=0.02"))
    (own_copy / "my_subject.py").unlink()
    (own_copy / "runs" / "mine" / "sources.json").unlink()
    done = run_cli("what-if", "mine", "--test", "1", "--remove", "2", "--subject", str(other))
    assert done.exit_code == 2 and "was built from another subject than other.py" in done.stderr
    done = run_cli("build", str(other), *OWN_SIZES)
    assert done.exit_code == 2 and "is there already with other settings or data" in done.stderr


def test_labels_of_a_loop_are_its_own_and_leaving_out_is_still_tried(own_runs):
    with tc.open_run("mine") as run:
        with pytest.raises(NeedNotMetError, match="reads its labels itself"):
            as_trial(run, Corrections(((3, 1),), ()), 2)
        assert as_trial(run, Corrections((), (3,)), 2).corrections.excluded == (3,)
