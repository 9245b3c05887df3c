"""Memory for large vocabularies: logits count when the size of a batch is chosen."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import trak_core as tc
from tests.language import padded, tiny_gpt2, tiny_t5, tokenized
from trak_core.errors import OutOfMemoryError
from trak_core.gradients import GradientComputer

pytest.importorskip("transformers")
ROOT = Path(__file__).resolve().parents[1]


def test_long_texts_come_in_smaller_batches_and_have_the_same_scores(monkeypatch):
    sizes = []
    compute = GradientComputer.compute
    monkeypatch.setattr(
        GradientComputer,
        "compute",
        lambda self, weights, inputs, targets: sizes.append(targets.shape) or compute(self, weights, inputs, targets),
    )
    model, rows = tiny_gpt2(vocab_size=45_000), tokenized([6, 6, 15, 6])
    given = {"task": "causal_lm", "projection": "sjlt", "proj_dim": 64, "progress": False}
    train = [padded(rows[:2], 6), padded(rows[2:], 15)]
    small = tc.Attributor(model, memory_budget=2**26, **given).fit(train)
    assert small.plan.batch_size == 2 and sizes == [(2, 6), (1, 15), (1, 15)]
    large = tc.Attributor(model, **given).fit(train)
    assert large.plan.batch_size == 2 and sizes[3:] == [(2, 6), (2, 15)]
    expected = large.score(train[:1])
    assert np.abs(small.score(train[:1]) - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(("model", "task"), [(tiny_gpt2, "causal_lm"), (tiny_t5, "seq2seq")])
def test_a_text_whose_logits_do_not_fit_is_refused_before_any_gradient(model, task, monkeypatch):
    monkeypatch.setattr(GradientComputer, "choose", lambda *_: pytest.fail("tried"))
    attributor = tc.Attributor(model(vocab_size=250_000), task, memory_budget=2**26, progress=False)
    said = r"a single train text \(14 tokens by a vocabulary of 250,000\).*84,000,000 bytes, more than memory_budget="
    with pytest.raises(OutOfMemoryError, match=said):
        attributor.fit(padded(tokenized([6, 14]), 14))


@pytest.mark.parametrize("labels_begin", [1, 30])
def test_gradients_are_tried_on_short_pieces_where_whole_texts_would_not_fit(labels_begin, monkeypatch):
    tried = []
    choose = GradientComputer.choose
    monkeypatch.setattr(
        GradientComputer, "choose", lambda self, *args: tried.append(args[2].shape) or choose(self, *args)
    )
    batch = padded(tokenized([40, 40]), 40)
    batch["labels"][:, :labels_begin] = -100
    model = tiny_gpt2(vocab_size=20_000, n_positions=64)
    tc.Attributor(model, "causal_lm", proj_dim=64, memory_budget=2**26, progress=False).fit(batch)
    assert tried == [(2, 23)]


MEASURED = """
import re, sys, torch, transformers, trak_core as tc
from tests.language import tiny_gpt2

def peak():
    return 1024 * int(re.search(r"VmHWM:\\\\s+(\\\\d+) kB", open("/proc/self/status").read())[1])

torch.set_num_threads(1)
ids = torch.randint(2, 250_000, (8, 40), generator=torch.Generator().manual_seed(0))
model = tiny_gpt2(vocab_size=250_000, n_positions=64)
given = {"proj_dim": 64, "memory_budget": 2**30, "progress": False}
warm = tc.Attributor(tiny_gpt2(), "causal_lm", **given).fit({"input_ids": ids[:, :9] % 40})
attributor = tc.Attributor(model, "causal_lm", **given)
before = peak()
attributor.fit({"input_ids": ids}).score({"input_ids": ids[:2]})
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory as Linux tells it")
def test_a_vocabulary_of_250_000_stays_within_the_budget():
    code = MEASURED.replace("\\\\", "\\")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 2**30


def test_the_work_of_a_batch_counts_all_tokens_of_the_vocabulary():
    from trak_core.tasks import CausalLM, Classification

    labels = torch.zeros(3, 10, dtype=torch.int64)
    assert CausalLM().numbers_at_work(tiny_gpt2(vocab_size=500), labels) == 6 * 10 * 500
    assert Classification().numbers_at_work(tiny_gpt2(), labels) == 0
