"""The recipe docs-t5 in a small size, as a subject in a file: for tests that need a run of pairs of texts."""

from dataclasses import replace

from trak_core.subjects.docs_t5 import Sizes, load
from trak_core.training import FineTuning

SIZES = Sizes(
    base_packages=("networkx",),
    packages=("scipy", "numpy"),
    n_train=64,
    n_test=6,
    length=24,
    n_tokens=500,
    width=16,
    n_layers=1,
    pretraining_steps=60,
)
subject = replace(load(SIZES), name="small-t5", training=FineTuning(epochs=3, batch_size=8, learning_rate=3e-3))
