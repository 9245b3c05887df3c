"""Runs of older versions: they open with all that people said of them, check out, and can be sent on."""

import numpy as np
import pytest

from tests.old_runs import restore_run
from trak_core.evidence.verification import verify
from trak_core.store.archive import export_run, import_run
from trak_core.store.reviews import Reviews
from trak_core.store.run import open_run
from trak_core.store.what_ifs import WhatIfHistory
from trak_core.views import data_fingerprint

NAMES = ["digits", "prices"]


@pytest.fixture(params=NAMES)
def old(request, tmp_path):
    return restore_run(4, request.param, tmp_path / "runs")


@pytest.fixture
def digits(tmp_path):
    return restore_run(4, "digits", tmp_path / "runs")


def test_a_run_of_version_4_checks_out(old):
    with open_run(old) as run:
        assert [(check.name, check.detail) for check in verify(run) if not check.ok] == []


def test_a_run_of_version_4_comes_with_its_verdicts_and_what_ifs(digits):
    with open_run(digits) as run:
        log = Reviews(digits, data_fingerprint(run)).read()
        asked = WhatIfHistory(digits).of_run(run.info.provenance["fingerprint"])
    assert [(v.train_idx, v.verdict, v.new_label, v.reviewer, v.note, v.is_undone) for v in log.verdicts] == [
        (3, "relabel", 5, "Ada", "looks like a five", False),
        (7, "keep", None, "Ada", "", False),
        (7, "exclude", None, "Ben", "a blot", False),
        (11, "unsure", None, "Ben", "", True),
    ]
    assert [(found.question.test_idx, found.question.removed) for found in asked] == [(2, (1, 4, 9))]


def test_a_run_of_version_4_can_be_sent_on(old, tmp_path):
    archive = export_run(old, tmp_path / "run.zip")
    there = import_run(archive, tmp_path / "elsewhere")
    with open_run(old) as before, open_run(there) as after:
        assert after.info == before.info
        np.testing.assert_array_equal(after.scores(), before.scores())
        assert [check.detail for check in verify(after) if not check.ok] == []
