"""Docstrings of eight installed packages with a small text classifier: which package does a text come from?

Real text that is there wherever the app is, near-duplicates included. The network is an embedding bag written as a
Linear layer over word weights, and a Linear layer on top. As with digits, it is trained calmly and with weight decay,
so that a change of its training set shows in a way that can be predicted; the settings were chosen on other subsets
and seeds than those that runs report. A network has about 75% test accuracy; a guess would have 12.5%.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trak_core.subjects.subject import Recipe, Subject

if TYPE_CHECKING:
    from torch import nn

N_HIDDEN = 16


def _load() -> Subject:
    from torch import nn

    from trak_core.datasets.docstrings import N_WORDS, load_docstrings
    from trak_core.tasks import label_task
    from trak_core.training import TrainingSettings

    dataset = load_docstrings()
    n_words, n_classes = N_WORDS, len(dataset.class_names)

    def make_model() -> nn.Module:
        return nn.Sequential(nn.Linear(n_words, N_HIDDEN), nn.GELU(), nn.Linear(N_HIDDEN, n_classes))

    return Subject(
        dataset=dataset,
        make_model=make_model,
        task=label_task("text"),
        training=TrainingSettings(epochs=20, batch_size=64, learning_rate=0.3, momentum=0.9, weight_decay=0.005),
    )


DOCSTRINGS = Recipe(
    name="docstrings",
    title="Docstrings of packages",
    description="2,560 training and 640 test texts from eight packages, and a network of 16,152 parameters.",
    load=_load,
    n_checkpoints=10,
    proj_dim=128,
    n_subsets=100,
    n_seeds=4,
    n_removal_tests=50,
)
