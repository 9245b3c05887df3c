"""The recipe docs-bert in a small size, as a subject in a file: for tests that need a run of a text classifier."""

from dataclasses import replace

from trak_core.subjects.docs_bert import Sizes, load
from trak_core.training import FineTuning

SIZES = Sizes(
    base_packages=("networkx", "numpy"),
    parts=("scipy.stats", "scipy.signal", "scipy.spatial"),
    n_train=24,
    n_test=3,
    length=32,
    n_tokens=800,
    width=16,
    pretraining_steps=60,
)
subject = replace(load(SIZES), name="small-bert", training=FineTuning(epochs=3, batch_size=8, learning_rate=3e-3))
