"""Images in a folder for each class, in other usual layouts, or listed in a table; a zip file of these too."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from trak_core.datasets.arrow_files import PARQUET
from trak_core.datasets.image_examples import ImageExample, ImageForm, images_from, read_headers
from trak_core.datasets.image_labels import Labelled, Listing, label_images
from trak_core.datasets.placing import DataSource
from trak_core.datasets.rows import Example
from trak_core.datasets.sources import natural_key, open_source, tidy
from trak_core.errors import EmptyDataError
from trak_core.modalities.raw import RawData, Skipped


def read_image_folder(
    path: Path | str,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    label: str | None = None,
    labels: Path | str | None = None,
    on_progress: Callable[[int, int], object] = lambda n_done, n_steps: None,
) -> RawData:
    """The images in `PATH/<class>/<image>`, or in `PATH/train/<class>/<image>` and `PATH/test/<class>/<image>`.

    Other usual layouts are read too, see `trak_core.datasets.layouts`; where folders tell no classes, tables beside the
    images do (`metadata.csv`, `train.csv`). A zip file is read without unpacking it. Without a test folder, `val` or
    `validation` serves as one, and without that some of the train images are held out. What is no image, or damaged,
    is left out and listed.

    Args:
        path: of the folder or zip file.
        size: height and width that all images are brought to; None to keep theirs, up to 64.
        channels: 1 for grey, 3 for colours; None for what they have.
        test_share: of each class, held out where there are no test images.
        seed: of that draw.
        label: the column of labels in a table that names the images; None for the one that is clearly meant.
        labels: that table; None for what lies beside the images, where folders tell no classes or `label` is given.
        on_progress: told the steps done and all of them.

    Raises:
        EmptyDataError: there is no image that can be read, or nothing says of which class images are.
        InvalidDataError: there is no such folder or zip file, it has one class only, it is laid out in a way that tells
            no classes, or a table of labels cannot be read.
        InvalidSettingError: `size`, `channels` or `test_share` cannot be.
        LabelError: what a table has as labels names no classes.
    """
    path, form = Path(path), ImageForm(size, channels)
    with open_source(path) as files, TemporaryDirectory() as room:
        name = tidy((path if path.is_dir() else path.with_suffix("")).resolve().name)
        source = DataSource(name, str(path), test_share, seed)
        n_files = len(files)
        items = read_headers(files, lambda n_done: on_progress(n_done, 2 * n_files))
        images = [item for item in items if isinstance(item, ImageExample)]
        skipped = [item for item in items if isinstance(item, Skipped)]
        if not images:
            raise EmptyDataError(_why_no_images(path, skipped))
        others = [
            file for file, item in zip(files, items, strict=True) if isinstance(item, Skipped) and file is not item
        ]
        listing = Listing(str(path), images, [file for file in others if isinstance(file, Example)])
        found = label_images(listing, Path(room), label, None if labels is None else Path(labels))
        skipped = [*(one for one in skipped if one.where not in found.used), *found.skipped]
        raw = images_from(
            *_with_numbers(found, source), form, found.notes, lambda n_done: on_progress(n_files + n_done, 2 * n_files)
        )
    on_progress(2 * n_files, 2 * n_files)
    skipped = sorted((*skipped, *raw.skipped), key=lambda one: natural_key(one.where))
    return replace(raw, skipped=tuple(skipped))


def _why_no_images(path: Path, skipped: list[Skipped]) -> str:
    first = f" ({skipped[0].where}: {skipped[0].why})" if skipped else ""
    advice = f"lay images out as {path}/<class>/<image>, in PNG or JPEG"
    if any(one.where.casefold().endswith((*PARQUET, ".arrow")) for one in skipped):
        advice = "Parquet and Arrow files of a data set are read as hf-dataset"
    return f"{path} holds no readable image in a folder for its class{first}; {advice}."


def _with_numbers(found: Labelled, source: DataSource) -> tuple[list[ImageExample | Skipped], DataSource]:
    """The images with numbers of classes as labels where folders name them: no name of a folder is a number then."""
    if not found.are_folders:
        return list(found.images), source
    class_names = sorted({image.label for image in found.images}, key=natural_key)
    number = {name: label for label, name in enumerate(class_names)}
    images = [replace(image, label=number[image.label]) for image in found.images]
    return list(images), replace(source, class_names=class_names)
