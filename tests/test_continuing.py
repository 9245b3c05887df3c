"""A prompt of one's own: how models go on with it, and that what they say is asked about as any text of the run."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.language import tiny_gpt2, tiny_t5, word_tokenizer
from trak_core.errors import EmptyDataError, InvalidDataError, InvalidSettingError, NeedNotMetError
from trak_core.live.continuing import continue_text, continued_text, tokens_said
from trak_core.live.tokens import token_scorer
from trak_core.modalities.passage.passage_tokens import PassageTokens
from trak_core.modalities.text_pair.pair_tokens import PromptCompletion, SourceTarget
from trak_core.store.run import open_run
from trak_core.tasks import CausalLM, Seq2Seq
from trak_core.tasks.masked_lm import MaskedLM

TEST, N_PROMPT = 2, 3


@pytest.fixture(scope="module")
def run(token_desk):
    with open_run(token_desk / "runs" / "words") as run:
        yield run


@pytest.fixture(scope="module")
def marking(tmp_path_factory) -> str:
    """A tokenizer that puts a mark of its own before and behind every text."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = word_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<end> $A <end>", special_tokens=[("<end>", 1)])
    folder = tmp_path_factory.mktemp("marking")
    tokenizer.save_pretrained(folder)
    return str(folder)


def scorer_of(*models, task) -> SimpleNamespace:
    """As much of a scorer as a prompt needs."""
    context = SimpleNamespace(architecture=models[0].eval())
    checkpoints = [SimpleNamespace(weights=dict(model.state_dict())) for model in models]
    return SimpleNamespace(live=SimpleNamespace(context=context), checkpoints=checkpoints, turn=threading.RLock())


def generated(model, inputs, n: int) -> list[int]:
    """What `generate` of transformers says."""
    given = {name: torch.from_numpy(part) for name, part in inputs.items()}
    found = model.generate(**given, max_new_tokens=n, do_sample=False, eos_token_id=None, pad_token_id=0)[0].tolist()
    return found[-n:]


@pytest.mark.parametrize("prompt", ["w5 w9 w12", "w30"])
@pytest.mark.parametrize("kind", ["passage", "pair", "prompt"])
def test_models_go_on_as_generate_of_transformers_does(marking, kind, prompt):
    model, task = (tiny_t5(), Seq2Seq()) if kind == "pair" else (tiny_gpt2(), CausalLM())
    encoding = {
        "passage": PassageTokens(marking, 16),
        "pair": SourceTarget(marking, 8, 8),
        "prompt": PromptCompletion(marking, 8, 8),
    }[kind]
    begun = replace(encoding.begun(prompt), ends=frozenset())
    expected = generated(model.eval(), begun.inputs, 6)
    assert tokens_said(scorer_of(model, task=task), task, begun, 6, None) == expected
    assert begun.inputs["input_ids"][0, -1] == (1 if kind == "pair" else int(prompt.split()[-1][1:]))


def test_models_end_at_the_token_that_ends_a_text_and_where_no_room_is_left(marking):
    scorer, task = scorer_of(tiny_gpt2(), tiny_gpt2(1), task=CausalLM()), CausalLM()
    begun = PassageTokens(marking, 16).begun("w5 w9")
    assert begun.ends == {0, 1}
    told = tokens_said(scorer, task, replace(begun, ends=frozenset()), 100, 7)
    assert len(told) == 16 - 3  # a mark and two words are read
    ended = tokens_said(scorer, task, replace(begun, ends=frozenset(told[4:5])), 100, 7)
    assert ended == told[: told.index(told[4])]


def test_drawn_tokens_follow_from_the_seed(run):
    assert continue_text(run, "w3 w4", 8, seed=1) == continue_text(run, "w3 w4  ", 8, seed=1)
    assert len({continue_text(run, "w3 w4", 8, seed=seed) for seed in range(4)}) > 1
    likely = continue_text(run, "w3 w4", 8)
    assert likely == continue_text(run, "w3 w4", 8) and len(likely.split()) <= 8 and likely.startswith(" w")


def test_a_continuation_is_explained_as_the_same_tokens_of_a_test_passage(run):
    (text,) = run.rows("SELECT text FROM examples WHERE split = 'test' AND idx = ?", [TEST])[0]
    scorer, words = token_scorer(run), text.split()
    own = continued_text(run, " ".join(words[:N_PROMPT]), " " + " ".join(words[N_PROMPT:]))
    span = range(N_PROMPT, len(words))
    assert np.flatnonzero(scorer.can_be_asked(own.text)).tolist() == list(span)
    for asked, same in ((None, span), (range(4, 6), range(4, 6))):
        scores = scorer.scores(own.text, asked)
        assert np.allclose(scores, scorer.scores(TEST, same), rtol=1e-4, atol=1e-6)
        (marks,) = scorer.marks(own.text, np.array([0, 9]), asked)
        assert np.allclose(marks.sum(1), scores[[0, 9]], rtol=1e-3, atol=1e-6)
    of_passage = scorer.carried(TEST, np.array([0, 9]))
    assert np.allclose(scorer.carried(own.text, np.array([0, 9]))[span], of_passage[span], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("encoding", [SourceTarget, PromptCompletion])
def test_the_second_text_of_a_pair_is_what_follows(marking, encoding):
    one = encoding(marking, 8, 8)
    found = one.continued("w5 w6", "w7")
    told = [place for place in one.tokens_told([each.text for each in found.media]) if place.text == found.text]
    assert [found.media[1].text[place.start : place.end] for place in told if place.end > found.start] == ["w7"]


@pytest.mark.parametrize(
    ("prompt", "settings", "error", "said"),
    [
        (" \n", {}, EmptyDataError, "there is no prompt yet"),
        ("w3 " * 16, {}, InvalidDataError, "has 16 tokens, and the models of this run read up to 15 of it"),
        ("w3", {"n_tokens": 0}, InvalidSettingError, "n_tokens=0; new tokens are a whole number from 1 to 100"),
        ("w3", {"n_tokens": 10**9}, InvalidSettingError, "from 1 to 100"),
        ("w3", {"seed": -1}, InvalidSettingError, "seed=-1"),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused(run, prompt, settings, error, said):
    with pytest.raises(error, match=said):
        continue_text(run, prompt, **settings)


def test_an_empty_continuation_and_models_without_one_are_refused(run, small_run):
    with pytest.raises(EmptyDataError, match="no continuation yet"):
        continued_text(run, "w3", " ")
    with pytest.raises(NeedNotMetError, match="has no parts"):
        continue_text(small_run, "w3")
    with pytest.raises(NeedNotMetError, match="do not go on with a text"):
        MaskedLM().followed({}, torch.zeros(1, 1))
