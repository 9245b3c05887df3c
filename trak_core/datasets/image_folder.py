"""Images in a folder for each class, or in a zip file of such folders."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from trak_core.datasets.image_examples import ImageExample, ImageForm, images_from, read_headers
from trak_core.datasets.placing import DataSource, split_kind
from trak_core.datasets.sources import natural_key, open_source, tidy
from trak_core.errors import EmptyDataError
from trak_core.modalities.raw import RawData, Skipped

NAMED = 10
"""Classes that a note names."""


def read_image_folder(
    path: Path | str,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    on_progress: Callable[[int, int], object] = lambda n_done, n_steps: None,
) -> RawData:
    """The images in `PATH/<class>/<image>`, or in `PATH/train/<class>/<image>` and `PATH/test/<class>/<image>`.

    A zip file of such folders is read without unpacking it. Without a test folder, `val` or `validation` serves as one,
    and without that some of the train images are held out. What is no image, or damaged, is left out and listed.

    Raises:
        EmptyDataError: there is no image in a class folder that can be read.
        InvalidDataError: there is no such folder or zip file, or it has one class only.
        InvalidSettingError: `size`, `channels` or `test_share` cannot be.
    """
    path, form = Path(path), ImageForm(size, channels)
    with open_source(path) as files:
        name = tidy((path if path.is_dir() else path.with_suffix("")).resolve().name)
        source = DataSource(name, str(path), test_share, seed)
        n_files = len(files)
        items = read_headers(files, lambda n_done: on_progress(n_done, 2 * n_files))
        images, skipped, notes = _sort_into_classes([item for item in items if isinstance(item, ImageExample)])
        skipped = [*(item for item in items if isinstance(item, Skipped)), *skipped]
        if not images:
            first = f" ({skipped[0].where}: {skipped[0].why})" if skipped else ""
            raise EmptyDataError(
                f"{path} holds no readable image in a folder for its class{first}; lay images out as "
                f"{path}/<class>/<image>, in PNG or JPEG."
            )
        class_names = sorted({image.label for image in images}, key=natural_key)
        number = {name: label for label, name in enumerate(class_names)}
        raw = images_from(
            [replace(image, label=number[image.label]) for image in images],
            replace(source, class_names=class_names),
            form,
            notes,
            lambda n_done: on_progress(n_files + n_done, 2 * n_files),
        )
    on_progress(2 * n_files, 2 * n_files)
    skipped = sorted((*skipped, *raw.skipped), key=lambda one: natural_key(one.where))
    return replace(raw, skipped=tuple(skipped), notes=(*raw.notes, *_about_small_classes(raw)))


def _sort_into_classes(found: Sequence[ImageExample]) -> tuple[list[ImageExample], list[Skipped], list[str]]:
    """The images that lie in a class folder, with its name and their split, class by class; the others; and notes."""
    paths = [image.where.split("/") for image in found]
    above, splits = _find_layout(paths)
    notes = [f"The class folders are those in {'/'.join(above)!r}."] if above else []
    images: list[ImageExample] = []
    skipped: list[Skipped] = []
    unused: Counter[str] = Counter()
    for image, path in zip(found, paths, strict=True):
        inner = path[len(above) :] if path[: len(above)] == above else path[:1]
        split = split_kind(inner[0]) if splits else None
        if splits and len(inner) > 1 and split is None:
            skipped.append(Skipped(image.where, "this image lies in neither the train nor the test folder"))
        elif split == "validation" and "test" in splits:
            unused[inner[0]] += 1
        elif len(inner) < (3 if splits else 2):
            skipped.append(Skipped(image.where, "this image lies in no class folder"))
        else:
            images.append(replace(image, label=inner[1] if splits else inner[0], split=split))
    notes += [f"The images in {name!r} ({n:,}) are not used; the test folder is there." for name, n in unused.items()]
    return sorted(images, key=lambda image: natural_key(image.label)), skipped, notes


def _find_layout(paths: Sequence[list[str]]) -> tuple[list[str], set[str]]:
    """The folder that everything lies in, if any, and the splits below it; none where class folders follow at once.

    Folders that bear the names of splits are taken as splits if there are folders in them, because "train" may as
    well be a class.
    """
    above: list[str] = []
    while True:
        inner = [path[len(above) :] for path in paths if path[: len(above)] == above]
        tops = {path[0] for path in inner if len(path) > 1}
        splits = {kind for path in inner if len(path) > 2 and (kind := split_kind(path[0]))}
        if "train" in splits and (len(splits) > 1 or all(split_kind(top) for top in tops)):
            return above, splits
        if len(tops) != 1 or not any(len(path) > 2 for path in inner):
            return above, set()
        above += tops


def _about_small_classes(raw: RawData) -> list[str]:
    counts = np.bincount(raw.train.labels).tolist()
    names = [repr(name) for name, count in zip(raw.class_names, counts, strict=True) if count == 1]
    if not names:
        return []
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return [f"Classes with one train image only: {', '.join(names[:NAMED])}{more}."]
