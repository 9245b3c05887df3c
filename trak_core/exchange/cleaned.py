"""Cleaned labels in the form in which the data came: what is to be mended, and the data written with it.

A table comes back as the same table in which nothing but the mended labels differs, a folder by moves from one class
folder to another, arrays and data sets of Hugging Face as a copy. The data themselves are never touched, unless a
folder is to be mended in place.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from trak_core.datasets.rows import counted
from trak_core.errors import InvalidSettingError, NotInRunError
from trak_core.exchange.source_again import SourceAgain, read_again
from trak_core.modalities.raw import LabelTable
from trak_core.store.retrainings import Corrections
from trak_core.store.run import Run


@dataclass(frozen=True)
class Mended:
    """A train example whose label the data get wrong."""

    train_idx: int  # its number in the run
    origin: str  # the file or row that it is
    label: str  # the class that the data give it
    new_label: str | None  # its right class; None where the example is to be left out


@dataclass(frozen=True)
class Cleaning:
    """What is to be mended in the data of a run."""

    run_name: str
    source: SourceAgain  # the data as they lie now
    mended: tuple[Mended, ...]  # by number; what the data have right already is not among them

    @property
    def table_of_labels(self) -> LabelTable | None:
        """The table beside images that holds their labels; None where these stand elsewhere."""
        return next((row[0] for row in self.source.raw.train.label_rows or () if row is not None), None)

    @property
    def form(self) -> str:
        """How cleaned data are given back: "table", "folder" or "copy"."""
        return "table" if self.table_of_labels is not None else str(self.source.data.about.given_back)

    @property
    def path(self) -> Path:
        """What is given back: the table, or the folder or zip file of images."""
        data, table = self.source.data, self.table_of_labels
        if table is None:
            return data.path
        beside = data.path / table.file
        return beside if beside.exists() else Path(data.options.get("labels", beside))

    @property
    def n_relabelled(self) -> int:
        """Examples that get another label."""
        return sum(one.new_label is not None for one in self.mended)

    @property
    def n_left_out(self) -> int:
        """Examples that are left out."""
        return len(self.mended) - self.n_relabelled

    def table(self) -> pd.DataFrame:
        """What is to be mended, a row each: train_idx, origin, label and new_label (missing for what is left out)."""
        return pd.DataFrame([asdict(one) for one in self.mended], columns=list(Mended.__dataclass_fields__))


def clean(
    run: Run,
    corrections: Corrections,
    path: Path | None = None,
    on_progress: Callable[[int, int], object] = lambda n_done, n_steps: None,
) -> Cleaning:
    """What labels that were found wrong come to in the data that the run was built from. Nothing is written.

    Args:
        run: whose labels were cleaned.
        corrections: what was found, as `corrections_of` tells for the review.
        path: where the data lie now, if they moved since the run was built.
        on_progress: told the steps of reading the data done and all of them.

    Raises:
        EmptyDataError, LabelError: as the reader of the data.
        InvalidDataError: the data are gone, or changed since the run was built.
        InvalidSettingError: nothing was changed, the data say so already, or the run was built elsewhere and `path` is
            missing.
        NotInRunError: the run does not tell what it was built from, or its data cannot be written in their form.
    """
    source = read_again(run, path, on_progress)
    if source.data.about.given_back is None:
        raise NotInRunError(
            f"cleaned labels of {source.data.kind} data are not written in the form in which these came; write them as "
            f"a table with `python -m trak_core labels {run.info.name} labels.csv`."
        )
    if not corrections.wrong:
        raise InvalidSettingError(
            f"no label of run {run.info.name!r} was changed and no example excluded, so there is nothing to write. "
            "Relabel or exclude examples on the page Label review first, or give a file of cleaned labels."
        )
    origins, names = run.origins("train"), run.info.class_names
    new_names = {idx: None if new is None else names[new] for idx, new in corrections.new_labels.items()}
    mended = []
    for idx, new_name in sorted(new_names.items()):
        origin = origins[idx]
        assert origin is not None  # checked when the data were read again
        if new_name != source.classes[origin]:
            mended.append(Mended(idx, origin, source.classes[origin], new_name))
    if not mended:
        raise InvalidSettingError(
            f"{counted(len(new_names), 'label')} of run {run.info.name!r} {'was' if len(new_names) == 1 else 'were'} "
            f"changed, to what {source.data.path} says already, so there is nothing to write; labels that a build made "
            "wrong on purpose are wrong in the run alone."
        )
    return Cleaning(run.info.name, source, tuple(mended))
