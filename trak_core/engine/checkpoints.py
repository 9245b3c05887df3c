"""Reads back what training left in a run, checked against the fingerprints of the store."""

from safetensors.torch import load_file

from trak_core.errors import RunMismatchError
from trak_core.store.files import RunFiles, file_sha256
from trak_core.store.writer import StoreWriter
from trak_core.subjects import Subject
from trak_core.training import Ensemble, Log, Schedule, StepLog, TrainingLog


def load_checkpoints(writer: StoreWriter, files: RunFiles, subject: Subject, device: str) -> Ensemble:
    """The checkpoints of a run, by checkpoint_id.

    Raises:
        RunMismatchError: a file is missing or has other content than what was trained.
    """
    rows = writer.columns("SELECT checkpoint_id, sha256 FROM checkpoints ORDER BY checkpoint_id")
    states = []
    for checkpoint_id, expected in zip(rows["checkpoint_id"].tolist(), rows["sha256"].tolist(), strict=True):
        path = files.checkpoint(checkpoint_id)
        if not path.exists() or file_sha256(path) != expected:
            raise RunMismatchError(
                f"{path} is missing or is not the checkpoint that this build trained; put it back, or delete the "
                f"folder {files.build} and build again."
            )
        states.append(load_file(path))
    return Ensemble.from_state_dicts(subject.make_model(), states, device, subject.trains_together)


def load_logs(writer: StoreWriter, files: RunFiles, subject: Subject, device: str) -> list[Log]:
    """The training logs of the first checkpoints of a run.

    Raises:
        RunMismatchError: a file is missing or has other content than what was recorded.
    """
    rows = writer.columns(
        "SELECT checkpoint_id, seed, log_sha256 FROM checkpoints WHERE log_sha256 IS NOT NULL ORDER BY checkpoint_id"
    )
    logs: list[Log] = []
    for i, expected in enumerate(rows["log_sha256"].tolist()):
        path = files.training_log(int(rows["checkpoint_id"][i]))
        if not path.exists() or file_sha256(path) != expected:
            raise RunMismatchError(
                f"the training log {path} is missing or is not what was recorded; put it back, or build the run again "
                "under another name."
            )
        if subject.training is None:
            logs.append(StepLog.load(path, subject.make_model(), device))
        else:
            schedule = Schedule(subject.training, len(subject.dataset.train))
            logs.append(TrainingLog.load(path, int(rows["seed"][i]), schedule, device))
    return logs
