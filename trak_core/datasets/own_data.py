"""Where a person's own data lie and how they are read: one description for the command line, the pages and Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from trak_core.datasets.cifar import read_cifar_folder
from trak_core.datasets.hf_directory import read_hf_directory
from trak_core.datasets.idx import read_idx_folder
from trak_core.datasets.image_folder import read_image_folder
from trak_core.datasets.npz import read_npz
from trak_core.datasets.raw import RawData
from trak_core.datasets.table import read_table
from trak_core.datasets.text_files import file_errors
from trak_core.errors import InvalidDataError, InvalidSettingError

__all__ = ["DATA_KINDS", "DataKind", "OwnData"]

DataKind = Literal["image-folder", "image-arrays", "table", "hf-dataset"]
DATA_KINDS: tuple[DataKind, ...] = get_args(DataKind)
"""What data may come as: folders of images, arrays in idx, CIFAR-10 or npz files, a table of texts, or the folder that
`save_to_disk` of the Hugging Face library `datasets` writes."""

OPTIONS: dict[DataKind, tuple[str, ...]] = {
    "image-folder": ("size", "channels", "test_share"),
    "image-arrays": ("test_share",),
    "table": ("text", "label", "split", "test", "no_header", "delimiter", "encoding", "test_share"),
    "hf-dataset": ("text", "image", "label", "size", "channels", "test_share"),
}
"""The options that each kind takes besides where it lies and the seed."""


@dataclass(frozen=True)
class OwnData:
    """A person's own data, not read yet.

    Attributes:
        kind: one of `DATA_KINDS`.
        path: of the folder or file.
        text: the column of texts.
        image: the column of images.
        label: the column of labels.
        split: the column that says which split a row is of.
        test: a second table, of test examples.
        no_header: whether the first row of a CSV file is an example already; columns are numbered from 1 then.
        delimiter: between the fields of a CSV file; None to find it out.
        encoding: of a CSV file; None for UTF-8.
        size: height and width of images in pixels; None to keep that of all, up to 64.
        channels: 1 for grey, 3 for colours; None to keep them.
        test_share: of each class, put aside where there are no test examples; None for a fifth.
        seed: of that draw.

    Raises:
        InvalidSettingError: the kind is unknown, an option does not belong to it, or one that it needs is missing.
    """

    kind: DataKind
    path: Path
    text: str | None = None
    image: str | None = None
    label: str | None = None
    split: str | None = None
    test: Path | None = None
    no_header: bool = False
    delimiter: str | None = None
    encoding: str | None = None
    size: int | None = None
    channels: int | None = None
    test_share: float | None = None
    seed: int = field(default=0)

    def __post_init__(self) -> None:
        if self.kind not in DATA_KINDS:
            raise InvalidSettingError(f"kind={self.kind!r}; it must be one of: {', '.join(DATA_KINDS)}.")
        taken = OPTIONS[self.kind]
        every = {name for options in OPTIONS.values() for name in options}
        if wrong := sorted(name for name in every - set(taken) if getattr(self, name) not in (None, False)):
            raise InvalidSettingError(
                f"{wrong[0]}={getattr(self, wrong[0])!r} is no option of {self.kind}, which takes: {', '.join(taken)}."
            )
        if self.kind == "table":
            for name in ("text", "label"):
                if not getattr(self, name):
                    raise InvalidSettingError(f"{name} is missing; name the column of the table that holds the {name}.")

    def read(self, on_progress: Callable[[int, int], object] = lambda n_done, n_steps: None) -> RawData:
        """The data, with what could not be read.

        Args:
            on_progress: called with the steps done and all steps, where reading takes long.

        Raises:
            EmptyDataError, InvalidDataError, InvalidSettingError, LabelError: as the reader of this kind.
        """
        share = 0.2 if self.test_share is None else self.test_share
        if self.kind == "image-folder":
            return read_image_folder(self.path, self.size, self.channels, share, self.seed, on_progress)
        if self.kind == "image-arrays":
            return _read_image_arrays(self.path, share, self.seed)
        if self.kind == "table":
            assert self.text and self.label  # checked above
            return read_table(
                self.path,
                self.text,
                self.label,
                split_column=self.split,
                test_path=self.test,
                test_share=share,
                seed=self.seed,
                has_header=not self.no_header,
                delimiter=self.delimiter,
                encoding=self.encoding,
            )
        return read_hf_directory(
            self.path, self.text, self.image, self.label, self.size, self.channels, share, self.seed
        )

    @property
    def usual_name(self) -> str:
        """A name for a run of these data: that of the folder or file, with what names of runs may hold."""
        stem = self.path.resolve().name.split(".")[0]
        return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip(".-_") or self.kind

    def words(self) -> list[str]:
        """What names these data on the command line, after `build` or `check`: paths from the root of the disk."""
        words: list[str] = [self.kind, str(self.path.resolve())]
        for name in OPTIONS[self.kind]:
            value = getattr(self, name)
            flag = f"--{name.replace('_', '-')}"
            if isinstance(value, Path):
                value = value.resolve()
            if value is True:
                words.append(flag)
            elif value not in (None, False):
                words += [flag, str(value)]
        return words


def _read_image_arrays(path: Path, test_share: float, seed: int) -> RawData:
    """Arrays of images, in whichever of the known forms they lie there."""
    if path.suffix.lower() == ".npz":
        return read_npz(path, test_share, seed)
    with file_errors(path):
        is_there = path.exists()
    if not is_there:
        raise InvalidDataError(f"{path} is not there; give an .npz file, or a folder with idx or CIFAR-10 files.")
    if any(any(path.glob(pattern)) for pattern in ("*.bin", "*/data_batch_*.bin", "data_batch_*", "*/data_batch_*")):
        return read_cifar_folder(path)
    return read_idx_folder(path)
