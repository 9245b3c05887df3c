"""The recipe docs-bert in a small size: what its base has seen, where its models start, and a run of it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import trak_core as tc
from trak_core.datasets.package_prose import parts_of, prose_of, runs_of_words, without_copies
from trak_core.errors import InvalidDataError
from trak_core.folders import bases_dir
from trak_core.inputs import as_tensors
from trak_core.store.run import open_run
from trak_core.subjects.bases import digest_of
from trak_core.subjects.docs_bert import Sizes, load
from trak_core.subjects.subject import Subject

SIZES = Sizes(
    base_packages=("networkx",),
    parts=("scipy.cluster", "scipy.integrate", "scipy.interpolate"),
    n_train=24,
    n_test=4,
    length=32,
    n_tokens=600,
    width=16,
    pretraining_steps=60,
)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    folder = tmp_path_factory.mktemp("docs_bert")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAK_RUNS_DIR", str(folder / "runs"))
        yield load(SIZES)


def test_nothing_that_is_asked_or_fine_tuned_on_is_in_the_base(subject: Subject):
    seen = runs_of_words([text for part in parts_of("networkx") for text in prose_of(part)])
    texts = [*subject.dataset.train.texts, *subject.dataset.test.texts]
    assert len(texts) == len(set(texts)) == 3 * 28
    assert without_copies(texts, seen) == texts


def test_all_models_start_from_the_base_with_one_head_and_no_dropout(subject: Subject):
    torch.manual_seed(1)
    first = subject.make_model().train()
    torch.manual_seed(2)
    second = subject.make_model()
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    inputs = as_tensors(subject.dataset.test.inputs)
    assert torch.equal(first(inputs), second.train()(inputs))
    (done,) = bases_dir().glob("docs-bert-*/base.json")
    base = done.parent
    assert subject.sources["base"] == digest_of(base)
    known = load_file(base / "model.safetensors")
    kept = {name: value for name, value in first.model.state_dict().items() if "classifier" not in name}
    assert kept.keys() <= known.keys()
    assert all(torch.equal(value, known[name]) for name, value in kept.items())
    assert len(known["classifier.bias"]) != len(SIZES.parts)  # the base tells parts of other packages apart


def test_a_text_is_read_from_a_token_that_is_no_word(subject: Subject):
    inputs = subject.dataset.train.inputs
    assert isinstance(inputs, np.ndarray)
    assert (inputs[:, 0] == 2).all()
    assert not (inputs[:, 1:] == 2).any()
    assert sorted(np.bincount(subject.dataset.train.labels)) == [SIZES.n_train] * len(SIZES.parts)


def test_a_part_with_too_few_paragraphs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    with pytest.raises(InvalidDataError, match=r"takes 5004 paragraphs of scipy.cluster, and only \d+ are there"):
        load(replace(SIZES, n_train=5000))


@pytest.mark.slow
def test_a_run_of_it_says_what_it_is_worth_and_makes_its_subject_again(subject: Subject, tmp_path: Path):
    path = tc.build(
        replace(subject, name="small"), runs_dir=tmp_path, n_checkpoints=2, n_subsets=20, n_seeds=1, progress=False
    )
    with open_run(path) as run:
        scores = run.scores("trak")
        assert scores.shape == (4 * len(SIZES.parts), 24 * len(SIZES.parts))
        assert np.isfinite(scores).all()
        assert run.info.provenance["training"] == subject.training_facts
        assert run.rows("SELECT count(*) FROM lds_summary")[0][0] > 0
