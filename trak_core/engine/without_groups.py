"""Retrains without one group of train examples after another: the truth about whole documents."""

from collections.abc import Sequence

import numpy as np

from trak_core.engine.method_context import examples_of
from trak_core.engine.retrained import answers_of
from trak_core.evidence.group_truth import GroupTruth
from trak_core.methods.groups import Groups
from trak_core.subjects import Subject
from trak_core.training import Ensemble, OnShare, ignore_share


def leave_one_group_out(
    subject: Subject, groups: Groups, seeds: Sequence[int], device: str = "cpu", on_share: OnShare = ignore_share
) -> GroupTruth:
    """What models say that are trained without one group each, and with everything: `n_groups + 1` models a seed.

    Models of one seed differ by what is left out and, as far as the trainer can, by nothing else.

    Args:
        subject: whose models are trained.
        groups: of its train examples.
        seeds: of the models.
        device: to train on.
        on_share: called along the way with the share of it all that was done since it was called last.

    Raises:
        InvalidSettingError: the groups are of another number of train examples.
        NeedNotMetError: nothing tells how the models are trained.
    """
    groups.check(len(subject.dataset.train), "train")
    trainer, test = subject.trainer(device), examples_of(subject.dataset.test, device)
    removed = [np.empty(0, dtype=np.int64), *map(groups.members, range(len(groups)))]
    of_each = [(gone, seed) for gone in removed for seed in seeds]

    def train(part: slice) -> Ensemble:
        gone, chosen = zip(*of_each[part], strict=True)
        share = len(chosen) / len(of_each)
        return trainer.train_without(gone, chosen, lambda done: on_share(done * share))

    answers = answers_of(trainer, subject.task, test, len(of_each), train)
    outputs = answers.margins.reshape(len(removed), len(seeds), -1)
    return GroupTruth(outputs[1:], outputs[0])
