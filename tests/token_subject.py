"""A language model of some thousand weights that goes on with passages of words, as a subject in a file."""

from pathlib import Path

import numpy as np

import trak_core as tc
from tests.language import N_WORDS, tiny_gpt2, word_tokenizer
from trak_core.modalities import RawData, RawSplit, prepare
from trak_core.modalities.passage.passage_tokens import PassageTokenizer
from trak_core.tasks import CausalLM

LENGTH = 16
DOCUMENTS = ("red", "green", "blue")
N_TRAIN, N_TEST = 16, 4
TOKENIZER = Path(__file__).parent / "tokenizer"

if not TOKENIZER.exists():
    word_tokenizer().save_pretrained(TOKENIZER)
draw = np.random.default_rng(0)


def passages(n: int) -> RawSplit:
    """Passages of 6 to 16 words; each document has words of its own, and some that all have."""
    texts, documents = [], []
    for place, document in enumerate(DOCUMENTS):
        words = np.arange(2 + place * 8, 14 + place * 8) % (N_WORDS - 2) + 2
        for _ in range(n):
            texts.append(" ".join(f"w{word}" for word in draw.choice(words, draw.integers(6, LENGTH + 1))))
            documents.append(document)
    return RawSplit(texts, np.zeros(len(texts)), documents)


raw = RawData("Passages of words", "passage", (), passages(N_TRAIN), passages(N_TEST))
subject = tc.Subject(
    name="words",
    dataset=prepare(raw, PassageTokenizer(str(TOKENIZER), LENGTH)),
    make_model=lambda: tiny_gpt2(attn_implementation="eager", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0),
    task=CausalLM(),
    training=tc.FineTuning(epochs=6, batch_size=8, learning_rate=0.01),
)
