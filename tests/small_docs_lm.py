"""The recipe docs-lm in a small size, as a subject in a file: for tests that need a run of a language model."""

from dataclasses import replace

from trak_core.subjects.docs_lm import Sizes, load
from trak_core.training import FineTuning

SIZES = Sizes(
    base_packages=("click", "filelock", "networkx"),
    documents=("scipy.fft", "scipy.cluster", "scipy.special", "scipy.ndimage"),
    n_train=16,
    n_test=3,
    length=48,
    n_tokens=600,
    width=16,
    n_layers=1,
    pretraining_steps=60,
)
subject = replace(load(SIZES), name="small", training=FineTuning(epochs=3, batch_size=8, learning_rate=3e-3))
