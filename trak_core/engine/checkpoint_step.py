"""Trains the checkpoints of a build, or takes those that were given, and writes them with their training logs."""

from collections.abc import Sequence
from functools import partial

from safetensors.torch import save_file

from trak_core.seeds import derive_seed
from trak_core.store.files import RunFiles, file_sha256, replace_file
from trak_core.store.writer import StoreWriter
from trak_core.subjects import Subject
from trak_core.training import Log, OnShare, Trainer

N_LOGGED = 5
"""Checkpoints whose training is recorded: as many as methods that look at training average over."""


def write_checkpoints(
    writer: StoreWriter,
    files: RunFiles,
    subject: Subject,
    trainer: Trainer | None,
    seed: int,
    part: range,
    on_share: OnShare,
) -> None:
    """Writes the files of some checkpoints and of their logs, and their rows, yet without accuracies.

    Args:
        writer: the working store.
        files: of the run.
        subject: that is built.
        trainer: of its models; None where it comes with checkpoints.
        seed: of the build.
        part: numbers of the checkpoints.
        on_share: progress.

    Raises:
        TrainingDivergedError: a trained weight is not finite.
    """
    seeds: list[int | None] = [None] * len(part)
    logs: Sequence[Log] = ()
    if trainer is None:
        states = [subject.checkpoints[i] for i in part]
        on_share(1)
    else:
        drawn = [derive_seed(seed, "checkpoint", i) for i in part]
        trained = trainer.train_checkpoints(drawn, max(0, N_LOGGED - part.start), on_share)
        states, logs = [trained.ensemble.state_dict(i) for i in range(len(part))], trained.logs
        seeds = [*drawn]
    for i, state in zip(part, states, strict=True):
        # Copies: what one file holds must not be part of a larger tensor.
        plain = {name: value.cpu().clone().contiguous() for name, value in state.items()}
        replace_file(files.checkpoint(i), partial(save_file, plain))
    for i, log in zip(part, logs, strict=False):
        replace_file(files.training_log(i), log.save)
    checkpoints = {
        "checkpoint_id": list(part),
        "seed": seeds,
        "sha256": [file_sha256(files.checkpoint(i)) for i in part],
        "log_sha256": [file_sha256(files.training_log(i)) if i < part.start + len(logs) else None for i in part],
    }
    writer.write(f"checkpoints {part.start}", {"checkpoints": checkpoints})
