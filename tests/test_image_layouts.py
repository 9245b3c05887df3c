"""Layouts of folders of images as they are found: read right, with a note on what was decided, or refused by name."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tests.test_image_folder import noise, put, reasons, saved, zipped
from trak_core.__main__ import cli
from trak_core.datasets.custom_data import CustomData
from trak_core.datasets.folder_names import are_parts, fold_in, is_about_images, names_no_class, split_in
from trak_core.datasets.image_folder import read_image_folder
from trak_core.errors import EmptyDataError, InvalidDataError, LabelError

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"


def lay(folder: Path, *wheres: str) -> Path:
    """Small images, each different, at these places."""
    for number, where in enumerate(wheres):
        put(folder, where, saved(noise(number, (8, 8))))
    return folder


def write(folder: Path, where: str, *lines: str) -> None:
    put(folder, where, "".join(f"{line}\n" for line in lines).encode())


def several(*folders: str, n: int = 3, ending: str = "png") -> list[str]:
    return [f"{folder}/{number}.{ending}" for folder in folders for number in range(n)]


def table_of(raw) -> dict[str, tuple[str, str]]:
    """Class and split of each image, by where it lies."""
    return {
        origin: (raw.class_names[label], split)
        for split, part in (("train", raw.train), ("test", raw.test))
        for origin, label in zip(part.origins, part.labels.tolist(), strict=True)
    }


def case(name: str):
    """The images of a case, read."""
    if not (CASES / name).is_dir():
        pytest.skip("the cases of shared/ are missing")
    return read_image_folder(CASES / name)


# --- names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "rest"),
    [
        ("train", "train", ""),
        ("TRAIN", "train", ""),
        ("training_set", "train", ""),
        ("test-set", "test", ""),
        ("trainset", "train", ""),
        ("TestData", "test", ""),
        ("valset", "validation", ""),
        ("train_images", "train", ""),
        ("images_test", "test", ""),
        ("train2017", "train", ""),
        ("test1", "test", ""),
        ("trainval", "train", ""),
        ("train_val", "train", ""),
        ("cats_train", "train", "cats"),
        ("test-golden retriever", "test", "golden_retriever"),
        ("seg_test", "test", "seg"),
    ],
)
def test_names_of_folders_tell_splits(name, kind, rest):
    found = split_in(name)
    assert found is not None and (found.kind, found.rest) == (kind, rest)


@pytest.mark.parametrize(
    "name", ["cats", "trains", "contest", "strain", "n01443537", "train_test", "", "latest", "valley"]
)
def test_other_names_tell_no_split(name):
    assert split_in(name) is None


def test_names_tell_folds_parts_and_what_is_no_class():
    assert [fold_in(name) for name in ("fold_1", "Fold10", "cv0", "kfold-3", "split2")] == [1, 10, 0, 3, 2]
    assert all(fold_in(name) is None for name in ("folds", "1", "cv", "unfold_1", "split"))
    assert are_parts(["images_001", "images_002"]) and are_parts(["part 1", "part 2"])
    assert not are_parts(["s1", "s2"]) and not are_parts(["0", "1"]) and not are_parts(["images_001"])
    assert all(map(is_about_images, ("masks", "SegmentationClass", "labels", "Annotations", "image_masks")))
    assert all(map(names_no_class, ("images", "JPEGImages", "train2017", "masks", "fold_1")))
    assert not any(map(names_no_class, ("cat", "with_mask", "train_station", "labelled cats", "photo of a dog", "s1")))


# --- folders that tell classes and splits ---------------------------------------------------------------------

SPLIT = {
    "suffix": ("training_set/{}", "test_set/{}"),
    "one word": ("trainset/{}", "testset/{}"),
    "humps": ("TrainData/{}", "TestData/{}"),
    "years": ("train2017/{}", "val2017/{}"),
    "prefix of the data": ("asl_train/{}", "asl_test/{}"),
    "twice": ("seg_train/seg_train/{}", "seg_test/seg_test/{}"),
    "images in between": ("train/images/{}", "test/images/{}"),
    "images above": ("images/train/{}", "images/test/{}"),
    "class first": ("{}/train", "{}/test"),
    "class first, validation": ("{}/training", "{}/validation"),
    "class first in a folder": ("data/{}/train_set", "data/{}/test_set"),
    "class and split": ("{}_train", "{}_test"),
    "split and class": ("train-{}", "val-{}"),
    "ImageNet": ("ILSVRC/Data/CLS-LOC/train/{}", "ILSVRC/Data/CLS-LOC/val/{}"),
}


@pytest.mark.parametrize("names", SPLIT.values(), ids=SPLIT)
def test_splits_are_kept_however_folders_tell_them(tmp_path, names):
    train, test = names
    wheres = [*several(train.format("cat"), train.format("dog")), *several(test.format("cat"), test.format("dog"), n=2)]
    raw = read_image_folder(lay(tmp_path / "photos", *wheres))
    assert table_of(raw) == {
        where: ("cat" if "cat" in where else "dog", "train" if number < 6 else "test")
        for number, where in enumerate(wheres)
    }
    assert raw.skipped == () and not any("held out" in note for note in raw.notes)


def test_what_was_taken_by_its_name_is_said(tmp_path):
    wheres = several("training_set/a", "training_set/b", "test_set/a", "test_set/b")
    raw = read_image_folder(lay(tmp_path, *wheres, "single_prediction/x.png"))
    assert "Taken by their names: 'training_set' as train images; 'test_set' as test images." in raw.notes
    assert reasons(raw) == {"single_prediction/x.png": "this image lies in neither the train nor the test folder"}


def test_classes_whose_names_have_words_of_splits_stay_classes(tmp_path):
    raw = read_image_folder(lay(tmp_path / "a", *several("airport", "train_station", "test_tube")))
    assert raw.class_names == ("airport", "test_tube", "train_station")
    raw = read_image_folder(lay(tmp_path / "b", *several("train_station", "test_tube")))
    assert raw.class_names == ("test_tube", "train_station")


def test_splits_in_classes_that_do_not_hold_all_images_are_drawn_anew_and_that_is_said(tmp_path):
    wheres = [*several("cat/train", "cat/test", "dog/train", "dog/test"), "cat/x.png", "dog/other/y.png"]
    raw = read_image_folder(lay(tmp_path / "splits", *wheres))
    assert raw.class_names == ("cat", "dog") and len(raw.train) + len(raw.test) == 14
    assert any("are drawn anew" in note and "do not hold 2 of the images" in note for note in raw.notes)
    folds = [*several("cat/fold_1", "cat/fold_2", "dog/fold_1", "dog/fold_2"), "cat/x.png"]
    raw = read_image_folder(lay(tmp_path / "folds", *folds))
    assert raw.class_names == ("cat", "dog") and any("do not hold 1 of the images" in note for note in raw.notes)


def test_validation_images_in_classes_are_not_used_beside_test_images_and_that_is_said(tmp_path):
    raw = read_image_folder(lay(tmp_path, *several(*(f"{c}/{s}" for c in "ab" for s in ("train", "val", "test")))))
    assert len(raw.train) == len(raw.test) == 6 and raw.skipped == ()
    assert "The validation images (6) are not used; there are test images." in raw.notes


@pytest.mark.parametrize("names", [("fold_{}", 1), ("cv{}", 0), ("Fold {}", 9)])
def test_the_last_fold_is_put_aside_and_that_is_said(tmp_path, names):
    name, first = names
    folds = [name.format(first + number) for number in range(3)]
    raw = read_image_folder(lay(tmp_path, *several(*(f"{fold}/{label}" for fold in folds for label in "ab"))))
    assert raw.class_names == ("a", "b")
    assert all((split == "test") == where.startswith(folds[-1]) for where, (_, split) in table_of(raw).items())
    assert any(note.startswith(f"The last fold, {folds[-1]!r}, was put aside") for note in raw.notes)


def test_folds_below_classes_are_put_aside_likewise(tmp_path):
    raw = read_image_folder(lay(tmp_path, *several(*(f"{c}/fold{k}" for c in ("cat", "dog") for k in (1, 2, 3)))))
    assert raw.class_names == ("cat", "dog") and {o for o, (_, s) in table_of(raw).items() if s == "test"} == set(
        several("cat/fold3", "dog/fold3")
    )


def test_folds_that_each_have_a_split_of_the_same_images_are_refused(tmp_path):
    lay(tmp_path, *several(*(f"fold_{k}/{s}/{c}" for k in (1, 2) for s in ("train", "val") for c in "ab")))
    with pytest.raises(
        InvalidDataError, match=r"2 folds \('fold_1', 'fold_2'\), each with a split.*give one of them, .*fold_1\."
    ):
        read_image_folder(tmp_path)
    assert len(read_image_folder(tmp_path / "fold_1").test) == 6


def test_a_collection_in_pieces_is_put_together_and_that_is_said(tmp_path):
    raw = read_image_folder(lay(tmp_path, *several(*(f"images_00{k}/{c}" for k in (1, 2) for c in ("cat", "dog")))))
    assert raw.class_names == ("cat", "dog") and len(raw.train) + len(raw.test) == 12
    assert any("were put together" in note for note in raw.notes)


def test_masks_and_segmentations_beside_the_folder_of_images_are_left_out(tmp_path):
    wheres = several(*(f"{top}/{c}" for top in ("images", "segmentations") for c in ("cat", "dog")))
    raw = read_image_folder(lay(tmp_path, *wheres))
    assert raw.class_names == ("cat", "dog") and set(table_of(raw)) == {w for w in wheres if w.startswith("images")}
    assert set(reasons(raw).values()) == {"this image lies in no class folder"}


def test_folders_that_are_the_same_in_each_class_are_spoken_of(tmp_path):
    raw = read_image_folder(
        lay(tmp_path, *several(*(f"{d}/{c}" for d in ("amazon", "webcam") for c in ("bike", "mug"))))
    )
    assert raw.class_names == ("amazon", "webcam")
    assert any("Each class folder has the folders 'bike', 'mug'" in note for note in raw.notes)


def test_outer_and_inner_folders_around_splits_are_a_question(tmp_path):
    lay(
        tmp_path,
        *several(*(f"{d}/{s}/{c}" for d in ("photo", "art") for s in ("train", "test") for c in ("dog", "elk"))),
    )
    with pytest.raises(
        InvalidDataError, match=r"classes may be 'art', 'photo', above the splits, or 'dog', 'elk', below"
    ):
        read_image_folder(tmp_path)
    assert read_image_folder(tmp_path / "art").class_names == ("dog", "elk")


@pytest.mark.parametrize("inside", ["unknown", "test", "all", "images"])
def test_test_images_in_a_folder_that_is_no_class_are_not_used_and_that_is_said(tmp_path, inside):
    raw = read_image_folder(lay(tmp_path, *several("train/a", "train/b"), *several(f"test/{inside}")))
    assert raw.class_names == ("a", "b") and len(raw.test) == 2
    assert any("'test' has no class folders, so its images (3) are not used" in note for note in raw.notes)


def test_splits_of_folds_are_refused(tmp_path):
    lay(tmp_path, *several(*(f"{s}_fold_{k}/{c}" for s in ("train", "val") for k in (1, 2) for c in "ab")))
    with pytest.raises(InvalidDataError, match="several splits of the same images"):
        read_image_folder(tmp_path)


def test_masks_in_folders_of_their_own_in_each_class_are_left_out_and_that_is_said(tmp_path):
    wheres = several(*(f"{c}/{kind}" for c in ("COVID", "Normal") for kind in ("images", "masks")))
    raw = read_image_folder(lay(tmp_path, *wheres))
    assert raw.class_names == ("COVID", "Normal") and len(raw.train) + len(raw.test) == 6
    assert set(reasons(raw).values()) == {"this image lies in a folder of masks or the like"}
    assert any("folders 'masks' of the classes (6) are not used" in note for note in raw.notes)


def test_masks_beside_their_images_are_hinted_at(tmp_path):
    for name, ending in (("plain", "_mask"), ("numbered", "-mask-1"), ("segmented", "_segmentation")):
        wheres = [
            f"{c}/{c} ({n}){more}.png" for c in ("benign", "malignant") for n in range(4) for more in ("", ending)
        ]
        raw = read_image_folder(lay(tmp_path / name, *wheres))
        assert any("8 of the 16 images look like masks of others" in note for note in raw.notes)
    wheres = [f"{c}/{more}{n}.png" for c in ("benign", "malignant") for n in range(4) for more in ("", "mask_")]
    raw = read_image_folder(lay(tmp_path / "before", *wheres))
    assert any("8 of the 16 images look like masks of others" in note for note in raw.notes)
    raw = read_image_folder(lay(tmp_path / "faces", *several("mask", "no_mask")))
    assert raw.class_names == ("mask", "no_mask") and not any("look like masks" in note for note in raw.notes)


def test_images_above_the_folders_that_are_passed_through_are_left_out(tmp_path):
    wheres = several("data/train/a", "data/train/b", "data/test/a", "data/test/b")
    raw = read_image_folder(lay(tmp_path / "alone", *wheres, "cover.png"))
    assert len(raw.train) == len(raw.test) == 6 and reasons(raw) == {"cover.png": "this image lies in no class folder"}


# --- lists and titles beside folders --------------------------------------------------------------------------


def test_a_validation_part_takes_its_classes_from_a_list(tmp_path):
    for name, lines in {
        "tabs.txt": [f"{n}.JPEG\tn0000000{1 + n % 2}\t0\t0\t62\t62" for n in range(4)],
        "blanks.txt": [f"{n}.JPEG n0000000{1 + n % 2}" for n in range(4)],
        "LOC_val_solution.csv": [
            "ImageId,PredictionString",
            *(f"{n},n0000000{1 + n % 2} 1 2 3 4 n9 5" for n in range(4)),
        ],
    }.items():
        folder = lay(tmp_path / name, *several("train/n00000001/images", "train/n00000002/images", ending="JPEG"))
        lay(folder, *several("val/images", n=4, ending="JPEG"), *several("test/images", ending="JPEG"))
        write(folder, f"val/{name}" if name.endswith("txt") else name, *lines)
        raw = read_image_folder(folder)
        found = {where: label for where, (label, split) in table_of(raw).items() if split == "test"}
        assert found == {f"val/images/{n}.JPEG": f"n0000000{1 + n % 2}" for n in range(4)}
        assert any("The classes of 4 images" in note for note in raw.notes)
        assert any("'test' has no class folders, so its images (3) are not used" in note for note in raw.notes)
        assert not any("list" in one.where or "solution" in one.where for one in raw.skipped)


def test_a_list_with_several_columns_of_numbers_gives_the_one_that_is_called_a_class(tmp_path):
    """As in the signs of GTSRB, whose classes are numbers, and whose lists have corners of boxes."""
    folder = lay(tmp_path, *several("Train/0", "Train/1", "Train/2"), *several("Test", n=6))
    rows = [f"5,1,2,{n % 3},Test/{n}.png" for n in range(6)]
    write(folder, "Test.csv", "Width,Roi.X1,Roi.X2,ClassId,Path", *rows)
    raw = read_image_folder(folder)
    assert {w: label for w, (label, s) in table_of(raw).items() if s == "test"} == {
        f"Test/{n}.png": str(n % 3) for n in range(6)
    }
    write(folder, "Test.csv", "Width,X,Y,Z,Path", *rows)
    assert any("'Test' has no class folders" in note for note in read_image_folder(folder).notes)


def test_folders_beside_train_that_are_for_neither_are_left_out(tmp_path):
    raw = read_image_folder(lay(tmp_path, *several("train/a", "train/b"), *several("unlabeled"), "extra images/x.png"))
    assert raw.class_names == ("a", "b") and len(raw.skipped) == 4
    assert set(reasons(raw).values()) == {"this image lies in neither the train nor the test folder"}


def test_a_validation_part_without_a_list_is_not_used_and_that_is_said(tmp_path):
    raw = read_image_folder(lay(tmp_path, *several("train/a/images", "train/b/images"), *several("val/images")))
    assert raw.class_names == ("a", "b") and any("20% of each class" in note for note in raw.notes)
    assert any("'val' has no class folders, so its images (3) are not used" in note for note in raw.notes)


def test_numbers_of_wordnet_get_their_words(tmp_path):
    wheres = several("n01443537", "n02012849", "n03126707")
    lines = ["n01443537\tgoldfish, Carassius auratus", "n02012849\tcrane", "n03126707\tcrane", "n00000001\tentity"]
    for name in ("words.txt", "LOC_synset_mapping.txt"):
        folder = lay(tmp_path / name, *wheres)
        write(folder, name, *(line.replace("\t", "\t" if name == "words.txt" else " ") for line in lines))
        raw = read_image_folder(folder)
        assert raw.class_names == ("crane (n02012849)", "crane (n03126707)", "goldfish") and raw.skipped == ()
        assert any("'goldfish' for the folder 'n01443537'" in note for note in raw.notes)
    (folder / name).unlink()
    assert read_image_folder(folder).class_names == ("n01443537", "n02012849", "n03126707")


# --- tables of labels -----------------------------------------------------------------------------------------


def kaggle(folder: Path, header: str = "id,label", ending: str = ".png") -> Path:
    """Train images listed in train.csv, and test images that bear the same names and are not listed."""
    lay(folder, *several("train", n=8), *several("test", n=4))
    write(folder, "train.csv", header, *(f"{n}{ending},{'dog' if n % 2 == 0 else 'cat'}" for n in range(8)))
    write(folder, "sample_submission.csv", header, *(f"{n}{ending},cat" for n in range(4)))
    return folder


@pytest.mark.parametrize(("header", "ending"), [("id,label", ".png"), ("image_id,breed", ""), ("Name,x", ".png")])
def test_a_table_of_two_columns_beside_flat_folders_is_read(tmp_path, header, ending):
    raw = read_image_folder(kaggle(tmp_path, header, ending))
    assert {where: label for where, (label, _) in table_of(raw).items()} == {
        f"train/{n}.png": "dog" if n % 2 == 0 else "cat" for n in range(8)
    }
    column = header.split(",")[1]
    assert f"The labels are those in the column {column!r} of train.csv." in raw.notes
    assert any("The test split (4 examples) has no labels" in note for note in raw.notes)
    assert list(reasons(raw)) == ["sample_submission.csv"]


def test_train_and_test_tables_are_both_read(tmp_path):
    folder = lay(tmp_path, *several("images", n=9))
    write(folder, "train.csv", "filename,label", *(f"{n}.png,{'ab'[n % 2]}" for n in range(6)))
    write(folder, "test.csv", "filename,label", *(f"{n}.png,{'ab'[n % 2]}" for n in range(6, 9)))
    assert {w: s for w, (_, s) in table_of(read_image_folder(folder)).items()} == {
        f"images/{n}.png": "train" if n < 6 else "test" for n in range(9)
    }


def test_metadata_of_hugging_face_is_read_in_all_its_forms(tmp_path):
    rows = [{"file_name": f"{n}.png", "label": "ab"[n % 2]} for n in range(6)]
    flat, jsonl, parts = (tmp_path / name for name in ("flat", "jsonl", "parts"))
    lay(flat, *(f"{n}.png" for n in range(6)))
    write(flat, "metadata.csv", "file_name,label", *(f"{n}.png,{'ab'[n % 2]}" for n in range(6)))
    lay(jsonl, *several("images", n=6))
    write(jsonl, "metadata.jsonl", *(json.dumps({**row, "file_name": f"images/{row['file_name']}"}) for row in rows))
    lay(parts, *several("train", "test", n=6))
    for part in ("train", "test"):
        pd.DataFrame(rows).to_parquet(parts / part / "metadata.parquet")
    for folder in (flat, jsonl):
        raw = read_image_folder(folder)
        assert raw.class_names == ("a", "b") and len(raw.train) == 4 and len(raw.test) == 2 and raw.skipped == ()
    assert {s for w, (_, s) in table_of(read_image_folder(parts)).items() if w.startswith("test")} == {"test"}


def test_a_column_of_splits_is_followed(tmp_path):
    folder = lay(tmp_path, *several("images", n=6))
    rows = [f"images/{n}.png,{'ab'[n % 2]},{'train' if n < 4 else 'test'}" for n in range(6)]
    write(folder, "labels.csv", "filepaths,labels,data set", *rows)
    assert [split for _, split in table_of(read_image_folder(folder)).values()] == ["train"] * 4 + ["test"] * 2


def test_columns_of_0_and_1_name_the_classes(tmp_path):
    folder = lay(tmp_path, *several("images", n=6))
    rows = [f"{n},{float(n % 2 == 0)},{float(n % 2)},0.0" for n in range(6)]
    write(folder, "truth.csv", "image,MEL,NV,BCC", *rows)
    raw = read_image_folder(folder)
    assert raw.class_names == ("MEL", "NV") and any("the 3 columns of 0 and 1" in note for note in raw.notes)
    write(folder, "truth.csv", "image,MEL,NV,BCC", *(f"{n},1,{n % 2},0" for n in range(6)))
    with pytest.raises(InvalidDataError, match=r"several of its columns may hold their labels.*'MEL', 'NV', 'BCC'"):
        read_image_folder(folder)


def test_several_columns_that_may_be_meant_are_a_question_that_label_answers(tmp_path):
    """As in HAM10000, whose images come in two parts."""
    folder = lay(tmp_path, *several("HAM_images_part_1"), *[f"HAM_images_part_2/{n}.png" for n in range(3, 6)])
    rows = [f"L{n // 2},{n},{'mel' if n % 2 else 'nv'},{'histo' if n < 3 else 'consensus'}" for n in range(6)]
    write(folder, "HAM_metadata.csv", "lesion_id,image_id,dx,dx_type", *rows)
    with pytest.raises(
        InvalidDataError, match=r"HAM_metadata\.csv names the images.*\(label\): 'lesion_id', 'dx', 'dx_type'"
    ):
        read_image_folder(folder)
    assert read_image_folder(folder, label="dx").class_names == ("mel", "nv")
    assert CustomData("image-folder", folder, label="dx_type").read().class_names == ("consensus", "histo")
    with pytest.raises(InvalidDataError, match="has no column 'dy'; there are: 'lesion_id', 'dx', 'dx_type'"):
        read_image_folder(folder, label="dy")


def test_a_number_and_a_name_of_the_same_class_are_no_question(tmp_path):
    folder = lay(tmp_path, *several("images", n=6))
    write(folder, "t.csv", "file,class,label", *(f"{n}.png,{n % 2},{'ab'[n % 2]}" for n in range(6)))
    assert read_image_folder(folder).class_names == ("a", "b")


def test_class_folders_come_before_a_table_and_that_is_said(tmp_path):
    folder = lay(tmp_path, *several("cat", "dog"))
    write(folder, "meta.csv", "file,camera", *(f"{c}/{n}.png,{'xy'[n % 2]}" for c in ("cat", "dog") for n in range(3)))
    raw = read_image_folder(folder)
    assert raw.class_names == ("cat", "dog")
    assert any("meta.csv names the images too" in note and "'camera'" in note for note in raw.notes)
    assert read_image_folder(folder, label="camera").class_names == ("x", "y")
    write(folder, "meta.csv", "file,kind", *(f"{c}/{n}.png,{c}" for c in ("cat", "dog") for n in range(3)))
    assert not any("meta.csv" in note for note in read_image_folder(folder).notes)


def test_a_column_of_splits_is_followed_for_class_folders_too(tmp_path):
    folder = lay(tmp_path, *several("cat", "dog"))
    rows = [f"{c}/{n}.png,{c},{'val' if n == 2 else 'train'}" for c in ("cat", "dog") for n in range(3)]
    write(folder, "birds.csv", "filepaths,labels,split", *rows)
    raw = read_image_folder(folder)
    assert {w for w, (_, s) in table_of(raw).items() if s == "test"} == {"cat/2.png", "dog/2.png"}
    assert "Splits are those in the column 'split' of birds.csv." in raw.notes


def test_folders_that_only_number_their_images_give_way_to_a_table_of_labels(tmp_path):
    folder = lay(tmp_path, *several("images/000", "images/001"))
    rows = [f"images/00{k}/{n}.png,{'ab'[n % 2]}" for k in range(2) for n in range(3)]
    write(folder, "labels.csv", "path,label", *rows)
    assert read_image_folder(folder).class_names == ("a", "b")
    write(folder, "labels.csv", "path,label", *(f"images/00{k}/{n}.png,00{k}" for k in range(2) for n in range(3)))
    assert read_image_folder(folder).class_names == ("000", "001")


@pytest.mark.parametrize("path", ["/kaggle/input/x/train/{}.png", "train\\{}.png", "./train/{}.png", "{}.jpg", "{}"])
def test_tables_name_images_in_many_ways(tmp_path, path):
    folder = lay(tmp_path, *several("train", n=6), *several("test", n=6))
    write(folder, "labels_train.csv", "path,label", *(f"{path.format(n)},{'ab'[n % 2]}" for n in range(6)))
    assert {w: label for w, (label, _) in table_of(read_image_folder(folder)).items()} == {
        f"train/{n}.png": "ab"[n % 2] for n in range(6)
    }


def test_lists_of_boxes_in_each_class_do_not_hide_the_list_of_the_validation_part(tmp_path):
    classes = [f"n{number:08}" for number in range(60)]
    folder = lay(tmp_path, *(f"train/{name}/images/{name}_{n}.JPEG" for name in classes for n in range(2)))
    lay(folder, *several("val/images", n=60, ending="JPEG"))
    for name in classes:
        write(folder, f"train/{name}/{name}_boxes.txt", *(f"{name}_{n}.JPEG\t0\t1\t6\t5" for n in range(2)))
    write(folder, "val/val_annotations.txt", *(f"{n}.JPEG\t{name}\t0\t0\t6\t6" for n, name in enumerate(classes)))
    write(folder, "wnids.txt", *classes)
    raw = read_image_folder(folder)
    assert len(raw.class_names) == len(raw.test) == 60 and len(raw.train) == 120


def test_a_table_that_lies_elsewhere_is_named_by_labels(tmp_path):
    folder = lay(tmp_path / "images", *(f"{n}.png" for n in range(6)))
    write(tmp_path, "truth.tsv", "name\tkind", *(f"{n}.png\t{'ab'[n % 2]}" for n in range(6)))
    assert read_image_folder(folder, labels=tmp_path / "truth.tsv").class_names == ("a", "b")
    write(tmp_path, "other.csv", "name,kind", "x.png,a", "y.png,b")
    with pytest.raises(InvalidDataError, match=r"other\.csv has no column that names most of the images"):
        read_image_folder(folder, labels=tmp_path / "other.csv")
    with pytest.raises(InvalidDataError, match="there is no file"):
        read_image_folder(folder, labels=tmp_path / "gone.csv")
    with pytest.raises(InvalidDataError, match=r"label is 'kind', and .* has no table that names its images"):
        read_image_folder(folder, label="kind")


def test_rows_and_images_that_do_not_meet_are_counted_and_listed(tmp_path):
    folder = lay(tmp_path, *(f"{n}.png" for n in range(7)))
    rows = [f"{n}.png,{'ab'[n % 2]}" for n in range(6)]
    write(folder, "labels.csv", "file,label", *rows, "99.png,a", "0.png,b", "1.png,b")
    raw = read_image_folder(folder)
    assert reasons(raw) == {
        "0.png": "it has several labels, 'a' and 'b'",
        "6.png": "no row of labels.csv names this image",
    }
    assert any("1 of the 9 rows of labels.csv name images that are not here" in note for note in raw.notes)


def test_a_table_of_more_images_than_are_here_is_read(tmp_path):
    folder = lay(tmp_path, *(f"images/{n}.png" for n in range(500, 508)))
    write(folder, "train.csv", "file;label", *(f"{n}.png;{'ab'[n % 2]}" for n in range(1000)))
    raw = read_image_folder(folder)
    assert raw.class_names == ("a", "b") and len(raw.train) + len(raw.test) == 8
    assert any("992 of the 1,000 rows of train.csv name images that are not here" in note for note in raw.notes)


def test_captions_are_no_classes(tmp_path):
    folder = lay(tmp_path, *(f"{n}.png" for n in range(30)))
    write(folder, "metadata.csv", "file_name,text", *(f"{n}.png,a picture of {n} things" for n in range(30)))
    with pytest.raises(LabelError, match="30 different labels for 30 examples"):
        read_image_folder(folder)


def test_the_same_layouts_in_a_zip_file_give_the_same(tmp_path):
    folders = [
        kaggle(tmp_path / "kaggle"),
        lay(tmp_path / "sets", *several("training_set/a", "training_set/b", "test_set/a")),
    ]
    for folder in folders:
        plain, packed = read_image_folder(folder), read_image_folder(zipped(folder))
        assert table_of(packed) == table_of(plain) and packed.notes == plain.notes and packed.skipped == plain.skipped
        assert (packed.train.contents == plain.train.contents).all()


# --- layouts without classes ----------------------------------------------------------------------------------

REFUSED = {
    "COCO": (several("train2017", "val2017"), ["annotations/instances_train2017.json"], "COCO"),
    "COCO of Roboflow": (several("train", "valid"), ["train/_annotations.coco.json"], "COCO"),
    "COCO of years": (several("train2014", "test2015"), [], "COCO"),
    "VOC": (several("VOC2007/JPEGImages", "VOC2007/SegmentationClass"), [], "Pascal VOC"),
    "VOC without masks": (several("JPEGImages"), ["Annotations/0.xml", "ImageSets/Main/train.txt"], "Pascal VOC"),
    "VOC of Roboflow": (several("train", "test"), [f"train/{n}.xml" for n in range(3)], "Pascal VOC"),
    "Roboflow": (several("train/images", "valid/images", "test/images"), ["data.yaml"], "YOLO"),
    "YOLO": (several("images/train", "images/val"), [f"labels/train/{n}.txt" for n in range(3)], "YOLO"),
    "darknet": (several("data"), [f"data/{n}.txt" for n in range(3)], "YOLO"),
    "LabelMe": (several("images"), [f"images/{n}.json" for n in range(3)], "LabelMe"),
    "several VOC": (
        several(*(f"VOC20{y}/{k}" for y in ("07", "12") for k in ("JPEGImages", "SegmentationClass"))),
        [],
        "VOC",
    ),
    "Hugging Face with boxes": (several("train"), ["train/metadata.jsonl"], "but splits"),
    "masks": (several("images", "masks"), [], "images and their masks"),
    "masks in splits": (several("train/images", "train/masks", "test/images", "test/masks"), [], "masks"),
    "dogs and cats": (
        [*(f"train/{c}.{n}.jpg" for c in ("cat", "dog") for n in range(3)), "test1/0.jpg"],
        [],
        "'cat', 'dog'",
    ),
    "pets": ([f"images/{c}_{n}.jpg" for c in ("Abyssinian", "beagle") for n in range(3)], [], "'Abyssinian', 'beagle'"),
    "flat splits": (several("train", "test"), [], "but splits"),
    "flat folds": (several("fold_1", "fold_2", "fold_3"), [], "but splits"),
}


@pytest.mark.parametrize(("images", "others", "says"), REFUSED.values(), ids=REFUSED)
def test_layouts_without_classes_are_refused_by_name_with_the_next_step(tmp_path, images, others, says):
    for where in others:
        write(tmp_path, where, "0 0.5 0.5 0.1 0.1")
    with pytest.raises(InvalidDataError, match=says) as caught:
        read_image_folder(lay(tmp_path, *images))
    said = str(caught.value)
    assert str(tmp_path) in said and said.endswith(".") and said.count(". ") == 0 and "put a table with" in said


def test_a_table_of_boxes_gives_no_labels(tmp_path):
    folder = lay(tmp_path, *several("train", "test"))
    rows = [f"{n}.png,64,64,cat,1,2,3,4" for n in range(3)]
    write(folder, "train/_annotations.csv", "filename,width,height,class,xmin,ymin,xmax,ymax", *rows)
    with pytest.raises(InvalidDataError, match="which are no classes"):
        read_image_folder(folder)


NAMES = [
    *("train", "test", "val", "images", "masks", "labels", "cat", "dog", "fold_1", "fold_2", "n00000001", "0", "1"),
    *("train_cats", "test_cats", "train2017", "JPEGImages", "part_1", "part_2", "training_set", "test_set", "VOC2007"),
]
TABLES = ["train.csv", "labels.csv", "metadata.jsonl", "val_list.txt", "words.txt", "data.yaml", "x.json", "y.parquet"]


def test_whatever_lies_there_is_read_once_or_refused_in_one_sentence(tmp_path):
    content = saved(noise(0, (4, 4)))
    for seed in range(120):
        random = np.random.default_rng(seed)
        folder, names, depth = tmp_path / str(seed), random.permutation(NAMES)[:5], random.integers(0, 4)
        wheres = []
        for number in range(random.integers(1, 13)):
            levels = depth if random.random() < 0.8 else random.integers(0, 4)
            wheres.append("/".join([*random.choice(names, levels), f"{number % 7}.png"]))
            put(folder, wheres[-1], content)
        for name in random.permutation(TABLES)[: random.integers(0, 3)]:
            called = [where if random.random() < 0.5 else Path(where).stem for where in wheres]
            lines = [f"{one},{random.choice(['cat', 'dog', '', '3.5'])},train" for one in called]
            write(folder, str(name), *[["file,label,split"], []][random.integers(2)], *lines)
        try:
            raw = read_image_folder(folder)
        except InvalidDataError as error:
            assert "\n" not in str(error) and str(error).endswith("."), seed
        else:
            kept = [*raw.train.origins, *raw.test.origins]
            assert len(kept) == len(set(kept)) and set(kept) <= set(wheres), seed


# --- names of files -------------------------------------------------------------------------------------------


def test_files_whose_names_differ_in_composition_or_bytes_that_are_no_text_are_all_read(tmp_path):
    folder = lay(tmp_path, "a/caf\u00e9.png", "a/cafe\u0301.png", "a/Cafe.png", "a/cafe.png", *several("b", n=4))
    for number, byte in enumerate((b"\xe8", b"\xe9")):
        with open(os.fsencode(folder) + b"/a/" + byte + b".png", "wb") as file:
            file.write(saved(noise(50 + number, (8, 8))))
    raw = read_image_folder(folder)
    names = [*raw.train.origins, *raw.test.origins]
    assert len(raw.train) + len(raw.test) == 10 == len(set(names))
    assert {"a/caf\u00e9.png", "a/cafe\u0301.png", "a/\\xe8.png", "a/\\xe9.png"} <= set(names)
    pixels = dict(zip(names, [*raw.train.contents, *raw.test.contents], strict=True))
    assert (pixels["a/caf\u00e9.png"][..., 0] == np.asarray(noise(0, (8, 8)))).all()
    assert (pixels["a/\\xe9.png"][..., 0] == np.asarray(noise(51, (8, 8)))).all()


def test_class_folders_that_differ_in_bytes_that_are_no_text_are_two_classes(tmp_path):
    for number, byte in enumerate((b"\xe8", b"\xe9", b"\xe8", b"\xe9")):
        os.makedirs(os.fsencode(tmp_path) + b"/" + byte, exist_ok=True)
        with open(os.fsencode(tmp_path) + b"/" + byte + b"/%d.png" % number, "wb") as file:
            file.write(saved(noise(number)))
    assert read_image_folder(tmp_path).class_names == ("\\xe8", "\\xe9")


def test_a_zip_file_with_names_in_two_compositions_keeps_both(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(("a/caf\u00e9.png", "a/cafe\u0301.png", "b/1.png", "b/2.png", "./b/2.png")):
            archive.writestr(name, saved(noise(number)))
    raw = read_image_folder(path)
    assert len(raw.train) + len(raw.test) == 4 and reasons(raw) == {"b/2.png": "the archive holds this name twice"}


def test_an_empty_folder_of_images_says_what_is_read(tmp_path):
    write(tmp_path, "train.csv", "id,label", "1,cat")
    with pytest.raises(EmptyDataError, match="holds no readable image"):
        read_image_folder(tmp_path)


def test_data_sets_of_hugging_face_lead_from_one_kind_to_the_other(tmp_path):
    pd.DataFrame({"text": ["a"], "label": [0]}).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(EmptyDataError, match="are read as hf-dataset"):
        read_image_folder(tmp_path)
    write(lay(tmp_path / "flat", "0.png"), "metadata.csv", "file_name,label", "0.png,a")
    with pytest.raises(InvalidDataError, match=r"image files with metadata\.csv are read as image-folder"):
        CustomData("hf-dataset", tmp_path / "flat").read()


def test_the_check_of_a_folder_prints_what_was_decided_or_the_refusal_and_takes_label(tmp_path, monkeypatch):
    def check(folder: Path, *options: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["check", "image-folder", str(folder), *options])
        return done.exit_code, done.output

    folder = lay(tmp_path / "a", *several("images", n=8))
    write(folder, "labels.csv", "file,kind,colour", *(f"{n}.png,{'ab'[n % 2]},{'xy'[n // 4]}" for n in range(8)))
    code, said = check(folder)
    assert code == 2 and said.count("\n") == 1 and "name one of them (label): 'kind', 'colour'" in said
    code, said = check(folder, "--label", "colour")
    assert code == 0 and "The labels are those in the column 'colour' of labels.csv." in said
    assert check(folder, "--labels", str(folder / "labels.csv"), "--label", "kind")[0] == 0
    code, said = check(lay(tmp_path / "b", *several("train2017", "val2017")))
    assert code == 2 and said.count("\n") == 1 and "COCO" in said
    monkeypatch.setattr("trak_core.datasets.sampling.MAX_TRAIN", 5)
    code, said = check(folder, "--label", "kind")
    assert "a build refuses these data: a: 6 train examples, and a run may have 5" in said


# --- the cases ------------------------------------------------------------------------------------------------


def test_the_cases_that_are_read_give_their_classes_and_splits():
    for name, n_train, n_test in (("class-first", 16, 8), ("suffix-split", 12, 6), ("hf-metadata", 8, 8)):
        raw = case(name)
        assert raw.class_names == ("cat", "dog") and (len(raw.train), len(raw.test)) == (n_train, n_test)
    for name in ("hf-flat", "kaggle-csv"):
        raw = case(name)
        assert raw.class_names == ("cat", "dog") and len(raw.train) + len(raw.test) == 8
    raw = case("tiny-imagenet")
    assert raw.class_names == ("n01443537", "n01629819") and (len(raw.train), len(raw.test)) == (12, 6)
    raw = case("masks")
    assert any("10 of the 20 images look like masks" in note for note in raw.notes)


@pytest.mark.parametrize(
    ("name", "says"),
    [("coco", "COCO"), ("voc", "Pascal VOC"), ("roboflow", "Roboflow"), ("dogs-vs-cats", "'cat', 'dog'")],
)
def test_the_cases_without_classes_are_refused_by_name(name, says):
    with pytest.raises(InvalidDataError, match=says):
        case(name)


def test_the_cases_that_held_still_hold():
    raw = case("case-mismatch")
    assert raw.class_names == ("Cat", "Dog") and set(reasons(raw).values()) == {"no train example has the class 'cat'"}
    raw = case("emoji")
    assert raw.class_names == ("  lead", "granny smith 🍏", "Pomme d\u2019Api", "trail. ") and raw.skipped == ()
