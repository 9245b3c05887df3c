"""The data that a run was built from, read again where they lie now, and compared with what the run holds of them."""

import hashlib
import io
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from trak_core.datasets.custom_data import CustomData
from trak_core.datasets.kinds import DATA_KINDS
from trak_core.errors import InvalidDataError, InvalidSettingError, NotInRunError
from trak_core.media import Medium, Picture
from trak_core.modalities import RawData, find_modality
from trak_core.store.local_paths import metadata_here
from trak_core.store.media_rows import read_media
from trak_core.store.run import Run
from trak_core.subjects import OWN_SUBJECT

BUILD_AGAIN = "give the data as they were then, or build the run again"


@dataclass(frozen=True)
class SourceAgain:
    """The data of a run as they lie now, which hold all examples of the run as it does."""

    data: CustomData  # where they lie on this machine, and how they are read
    raw: RawData  # what was read
    classes: Mapping[str, str]  # of the train examples: the class that the data have there, by origin


def find_source(run: Run, path: Path | None = None) -> CustomData:
    """The data that a run was built from; those at `path`, where it is given, and else where they lay then.

    Raises:
        InvalidDataError: they are gone.
        InvalidSettingError: the run was built on another machine, so that `path` has to be given.
        NotInRunError: the run does not tell what it was built from.
    """
    told, name = _told(metadata_here(run).get("data_source")), run.info.name
    if told is None:
        raise NotInRunError(
            f"run {name!r} does not know which files its examples came from, because it was {_how_it_came(run)}."
        )
    paths = {key: Path(value) for key, value in told["paths"].items()}
    if path is not None:
        paths["path"] = Path(path)
    elif not paths["path"].is_absolute():
        raise InvalidSettingError(
            f"run {name!r} was built from {paths['path'].name!r} on another machine or in another place; say where it "
            "lies here with --source."
        )
    if not paths["path"].exists():
        raise InvalidDataError(
            f"the data of run {name!r} are gone: there is no {paths['path']}; say where they lie now with --source."
        )
    for key, further in list(paths.items()):
        if not further.exists() and (beside := paths["path"] / further.name).exists():
            paths[key] = beside
        elif not further.exists() and key == "test":
            del paths[key]  # test examples tell nothing about the train examples
        elif not further.exists():
            raise InvalidDataError(
                f"the data of run {name!r} are gone: there is no {further}, which was given as --{key}; put it there."
            )
    return CustomData.of({**told, "paths": paths})


def _how_it_came(run: Run) -> str:
    """How a run came about that does not know its data, and how cleaned labels are had all the same."""
    if run.info.recipe in DATA_KINDS:
        return "built before runs kept that; build it again from its data"
    origin = "built from a subject file" if run.info.recipe == OWN_SUBJECT else run.info.origin
    return (
        f"{origin}; its cleaned labels are had as a table, each with its example's number and, where the run has one, "
        f"its origin: `python -m trak_core labels {run.info.name} labels.csv`"
    )


def knows_source(run: Run) -> bool:
    """Whether the run tells what it was built from, wherever that lies now."""
    return _told(run.info.provenance.get("data_source")) is not None


def _told(said: Any) -> dict[str, Any] | None:
    """What a run tells of its data as `CustomData.told` does; else None: one from elsewhere may say anything."""
    if not isinstance(said, dict) or said.get("kind") not in DATA_KINDS or not isinstance(said.get("seed"), int):
        return None
    paths, options = said.get("paths"), said.get("options")
    if not isinstance(paths, dict) or not isinstance(options, dict) or "path" not in paths:
        return None
    return said if all(isinstance(path, str) for path in paths.values()) else None


def read_again(
    run: Run, path: Path | None = None, on_progress: Callable[[int, int], object] = lambda n_done, n_steps: None
) -> SourceAgain:
    """The data of a run, read where they lie now; `path` says where, if they moved.

    Raises:
        InvalidDataError: they are gone, or are others than the run was built from; or as their reader.
        EmptyDataError, LabelError: as their reader.
        InvalidSettingError, NotInRunError: as `find_source`.
    """
    data = find_source(run, path)
    raw = data.read(on_progress)
    found = _by_origin(raw, _named_as_then(run, data))
    _refuse_changed(run, data, found)
    classes = {origin: name for origin, entries in found.items() for _, name, split in entries if split == "train"}
    held_out = {origin: name for origin, entries in found.items() for _, name, split in entries if split == "test"}
    return SourceAgain(data, raw, {**held_out, **classes})


def _named_as_then(run: Run, data: CustomData) -> Callable[[str], str]:
    """Turns an origin in a file that bears another name now into what it was when the run was built."""
    then = Path(run.info.provenance["data_source"]["paths"]["path"]).name
    # Origins begin with the name of a file that holds all examples, and never with that of a folder.
    if data.about.given_back == "folder" or not data.path.is_file() or data.path.name == then:
        return lambda origin: origin
    return lambda origin: then + origin.removeprefix(data.path.name) if origin.startswith(data.path.name) else origin


_Entry = tuple[bytes, str, str]
"""What an example shows, the name of its class, and its split."""


def _by_origin(raw: RawData, named: Callable[[str], str]) -> dict[str, list[_Entry]]:
    found: dict[str, list[_Entry]] = defaultdict(list)
    modality = find_modality(raw.modality)
    for split, part in (("train", raw.train), ("test", raw.test)):
        shown = modality.media(part.contents)
        for origin, label, media in zip(part.origins or (), part.labels.tolist(), shown, strict=True):
            found[named(origin)].append((_key(media), raw.class_names[label], split))
    return found


def _key(media: tuple[Medium, ...]) -> bytes:
    """What two examples share exactly if they show the same: pixels and texts, however pictures are packed."""
    digest = hashlib.sha256()
    for medium in media:
        if isinstance(medium, Picture):
            with Image.open(io.BytesIO(medium.content)) as picture:
                digest.update(f"{picture.size}".encode() + picture.convert("RGBA").tobytes())
        else:
            digest.update(medium.text.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.digest()


def _refuse_changed(run: Run, data: CustomData, found: Mapping[str, list[_Entry]]) -> None:
    """Refuses data in which an example of the run is missing, shows something else, or bears another label."""
    wrong: list[str] = []
    planted = dict(run.rows("SELECT train_idx, true_label FROM planted_errors"))
    skips_test = "test" in run.info.provenance["data_source"]["paths"] and "test" not in data.options
    for split in ("train",) if skips_test else ("train", "test"):
        origins, labels = run.origins(split), {"train": run.train_labels, "test": run.test_labels}[split]
        for idx, media in read_media(run, split).items():
            origin = origins[idx]
            if origin is None:
                raise NotInRunError(
                    f"run {run.info.name!r} does not know where {split} example {idx} came from; build it again from "
                    "its data."
                )
            label = planted.get(idx, labels[idx]) if split == "train" else labels[idx]
            if why := _difference(found.get(origin, []), _key(media), run.info.class_names[label]):
                wrong.append(f"{origin} {why}")
    if wrong:
        more = f", and {len(wrong) - 1:,} more examples differ" if len(wrong) > 1 else ""
        raise InvalidDataError(
            f"{data.path} changed since run {run.info.name!r} was built: {wrong[0]}{more}; {BUILD_AGAIN}."
        )


def _difference(entries: list[_Entry], key: bytes, name: str) -> str:
    """How what lies in a place now differs from an example of the run; empty where it does not."""
    if not entries:
        return "is not there any more"
    same = [label for shown, label, _ in entries if shown == key]
    if not same:
        return "shows something else now"
    return "" if name in same else f"is labelled {same[0]!r} now and was labelled {name!r}"
