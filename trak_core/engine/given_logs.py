"""Training logs that somebody gives to an `Attributor`."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from trak_core.errors import InvalidSettingError
from trak_core.methods import MethodInfo, Need
from trak_core.training import Log
from trak_core.training.folder_log import FolderLog

GivenLog = str | Path | Log


def read_logs(
    given: Sequence[GivenLog] | str | Path, model: nn.Module, device: torch.device, info: MethodInfo
) -> tuple[Log, ...]:
    """The logs of one training or of several.

    Raises:
        InvalidSettingError: one is nothing of the kind, or the method looks at none.
        RunMismatchError: a folder holds no log.
        CheckpointMismatchError: the states of a log are not of this model.
    """
    each = [given] if isinstance(given, str | Path) else list(given)
    if each and Need.TRAINING_LOG not in info.needs:
        raise InvalidSettingError(
            f"training_logs are given, but method {info.name!r} looks at none; leave them out, or use method='tracin' "
            "or 'source'."
        )
    for log in each:
        if not isinstance(log, str | Path) and not all(hasattr(log, part) for part in ("ends", "time", "weight_decay")):
            raise InvalidSettingError(
                f"training_logs hold a {type(log).__name__}; give folders that a TrainerLog wrote, or StepLogs."
            )
    return tuple(FolderLog(Path(log), model, device) if isinstance(log, str | Path) else log for log in each)
