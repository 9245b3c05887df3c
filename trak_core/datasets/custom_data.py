"""Where custom data lie and how they are read: one description for the command line, the pages and Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trak_core.datasets.kinds import DATA_KINDS, DataKind, find_data_kind
from trak_core.datasets.other_kind import refuse_other_kind
from trak_core.errors import InvalidSettingError
from trak_core.modalities.raw import RawData


class CustomData:
    """A person's data, not read yet.

    Args:
        kind: name of the kind, one of `DATA_KINDS`.
        path: of the folder or file.
        seed: of what is held out as test examples.
        **options: by name, as `DATA_KINDS[kind].options` tells; None and False stand for one that is not given.

    Raises:
        InvalidSettingError: the kind is unknown, an option does not belong to it, or one that it needs is missing.
    """

    def __init__(self, kind: str, path: Path | str, *, seed: int = 0, **options: Any) -> None:
        about = find_data_kind(kind)
        self.kind, self.path, self.seed = kind, Path(path), seed
        self.options: Mapping[str, Any] = {
            name: value for name, value in options.items() if value is not None and value is not False
        }
        taken = [option.name for option in about.options]
        if wrong := sorted(set(self.options) - set(taken)):
            raise InvalidSettingError(
                f"{wrong[0]}={self.options[wrong[0]]!r} is no option of {kind}, which takes: {', '.join(taken)}."
            )
        for name in about.required:
            if not self.options.get(name):
                raise InvalidSettingError(f"{name} is missing; name the column of the table that holds the {name}.")

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"CustomData({self.kind!r}, {str(self.path)!r}, seed={self.seed}{options})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CustomData) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    @property
    def about(self) -> DataKind:
        """The kind of the data."""
        return DATA_KINDS[self.kind]

    def with_seed(self, seed: int) -> CustomData:
        """The same data, with test examples held out by another seed."""
        return CustomData(self.kind, self.path, seed=seed, **self.options)

    def read(self, on_progress: Callable[[int, int], object] = lambda n_done, n_steps: None) -> RawData:
        """The data, with what could not be read; `on_progress` is told the steps done and all steps.

        Raises:
            EmptyDataError, InvalidDataError, InvalidSettingError, LabelError: as the reader of this kind.
        """
        refuse_other_kind(self.kind, self.path)
        return replace(self.about.read(self.path, self.options, self.seed, on_progress), source=self.told())

    def told(self) -> dict[str, Any]:
        """What a run keeps of this, for `CustomData.of`: paths stand apart, because they are this machine's alone."""
        paths = {name: value for name, value in self.options.items() if isinstance(value, Path)}
        return {
            "kind": self.kind,
            "seed": self.seed,
            "options": {name: value for name, value in self.options.items() if name not in paths},
            "paths": {name: str(path.resolve()) for name, path in {"path": self.path, **paths}.items()},
        }

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> CustomData:
        """The data that `told` tells of.

        Raises:
            InvalidSettingError: as the class.
        """
        paths = {name: Path(path) for name, path in told["paths"].items()}
        # JSON knows no tuples.
        options = {name: tuple(value) if isinstance(value, list) else value for name, value in told["options"].items()}
        return cls(told["kind"], paths.pop("path"), seed=told["seed"], **options, **paths)

    @property
    def usual_name(self) -> str:
        """A name for a run of these data: that of the folder or file, with what names of runs may hold."""
        stem = self.path.resolve().name.split(".")[0]
        return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip(".-_") or self.kind

    def words(self) -> list[str]:
        """What names these data on the command line, after `build` or `check`: paths from the root of the disk."""
        words: list[str] = [self.kind, str(self.path.resolve())]
        for option in self.about.options:
            value = self.options.get(option.name)
            if isinstance(value, Path):
                value = value.resolve()
            if value is True:
                words.append(option.flag)
            elif value is not None:
                words += [option.flag, str(value)]
        return words
