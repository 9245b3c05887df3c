"""How well wrong labels are found, and what it brings to mend them: prints a table for each data set.

    python tests/benchmarks/label_review.py [--data digits fashion trec] [--seeds 5] [--whole] [--contact-sheet FILE]

Labels are made wrong on purpose; every ranking is judged by how early it finds them, cleanlab's on the out-of-fold
probabilities of the very same folds. Fashion-MNIST and TREC are read from the folder that TRAK_SHARED_DATA names.
"""

import argparse
import io
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.label_subjects import DATA, FASHION, TREC
from trak_core.engine import BuildSettings, build_run
from trak_core.engine.retraining import retrain_on_labels
from trak_core.evidence.retraining import crossed_estimates
from trak_core.labels.label_scores import LabelScores, score_labels
from trak_core.labels.quality import cleanlab_signals, quality, ranked
from trak_core.labels.signals import likely_wrong, suggested_labels
from trak_core.seeds import derive_seed
from trak_core.store.reviews import Reviews
from trak_core.store.run import open_run
from trak_core.subjects import RECIPES, Subject
from trak_core.subjects.planting import plant_errors
from trak_core.training import train_ensemble
from trak_core.views.label_quality import planted_quality
from trak_core.views.retraining import corrections_of, retraining_text
from trak_core.views.review import data_fingerprint

KINDS = {"digits": "uniform", "fashion": "confusable", "trec": "confusable"}
N_MODELS = 10
N_SHOWN = 24


def scored(subject: Subject, labels: NDArray[np.int64], seed: int) -> tuple[LabelScores, float]:
    """The label scores of some labels of a subject, and the CPU seconds that they took."""
    began = time.process_time()
    inputs, given = torch.from_numpy(subject.dataset.train.inputs), torch.from_numpy(labels)
    n_classes = len(subject.dataset.class_names)
    trainer = subject.trainer("cpu").with_labels(given)
    return score_labels(subject.task, trainer, inputs, given, n_classes, seed), time.process_time() - began


def find_errors(name: str, subject: Subject, n_seeds: int) -> None:
    """Rankings of labels of which a tenth were made wrong, and what is called wrong where nothing is."""
    truth = subject.dataset.train.labels
    n_classes = len(subject.dataset.class_names)
    print(f"\n{name}: {len(truth):,} training examples, 10% made wrong ({KINDS[name]})")
    print(
        f"{'seed':>4} {'ranking':42} {'AUROC':>7} {'found in first 10%':>18} {'15%':>6} {'20%':>6} {'95% found in':>13}"
    )
    for seed in range(n_seeds):
        labels = plant_errors(subject.dataset.train.inputs, truth, n_classes, 0.1, KINDS[name], seed)
        wrong = labels != truth
        found, seconds = scored(subject, labels, seed)
        rankings = {**found.signals, **cleanlab_signals(labels, found.out_of_fold)}
        measured = {signal: quality(scores, wrong) for signal, scores in rankings.items()}
        for signal, of in measured.items():
            print(
                f"{seed:>4} {signal:42} {of.auroc:7.4f} {of.recall_at_10:18.1%} {of.recall_at_15:6.1%} "
                f"{of.recall_at_20:6.1%} {of.inspected_for_95:13.1%}"
            )
        theirs = [of for signal, of in measured.items() if signal.startswith("cleanlab")]
        ours = measured["combined"]
        likely = likely_wrong(found.pooled, labels)
        right = suggested_labels(found.pooled, labels)[wrong] == truth[wrong]
        print(
            f"{seed:>4} combined less cleanlab's best: AUROC {ours.auroc - max(of.auroc for of in theirs):+.4f}, "
            f"10% {100 * (ours.recall_at_10 - max(of.recall_at_10 for of in theirs)):+.1f} points, "
            f"20% {100 * (ours.recall_at_20 - max(of.recall_at_20 for of in theirs)):+.1f} points; "
            f"called likely {likely.mean():.1%}, of these {wrong[likely].mean():.0%} wrong; "
            f"suggestion right for {right.mean():.0%}; {seconds:.0f} CPU s",
            flush=True,
        )
    for seed in range(min(n_seeds, 2)):
        found, _ = scored(subject, truth, seed)
        print(f"nothing planted, seed {seed}: {likely_wrong(found.pooled, truth).mean():.2%} called likely wrong")


def accuracies(subject: Subject, labels: NDArray[np.int64], seeds: list[int]) -> NDArray[np.float64]:
    """Which test examples models trained on some labels get right: `[n_seeds, n_test]`, 0 or 1."""
    train, test = subject.dataset.train, subject.dataset.test
    models = train_ensemble(
        subject.make_model,
        subject.task,
        torch.from_numpy(train.inputs),
        torch.from_numpy(labels),
        np.ones((len(seeds), len(labels)), dtype=bool),
        seeds,
        subject.training,
    )
    return (models.outputs(subject.task, torch.from_numpy(test.inputs)).argmax(-1).numpy() == test.labels).astype(
        np.float64
    )


def mend(subject: Subject, n_seeds: int) -> None:
    """Test accuracy of digits of which a fifth were made wrong, before and after the first 15% are reviewed."""
    truth = subject.dataset.train.labels
    n_classes = len(subject.dataset.class_names)
    print("\ndigits, 20% made wrong (uniform); the first 15% by the combined ranking get their true labels")
    print(f"{'seed':>4} {'found':>9} {'before':>22} {'after':>22} {'never wrong':>22} {'clean less after':>24}")
    for seed in range(n_seeds):
        labels = plant_errors(subject.dataset.train.inputs, truth, n_classes, 0.2, "uniform", seed)
        found, _ = scored(subject, labels, seed)
        first = ranked(found.signals["combined"])[: round(0.15 * len(labels))]
        mended = labels.copy()
        mended[first] = truth[first]
        seeds = [derive_seed(seed, "mend", i) for i in range(N_MODELS)]
        before, after, clean = (accuracies(subject, some, seeds) for some in (labels, mended, truth))
        estimates = crossed_estimates(np.stack([before, after, clean, clean - after]), seed)
        words = [f"{100 * e.mean:.2f} ({100 * e.low:.2f} to {100 * e.high:.2f})" for e in estimates]
        n_wrong = int((labels != truth).sum())
        print(
            f"{seed:>4} {int((labels != mended).sum()):>4}/{n_wrong:<4} "
            f"{words[0]:>22} {words[1]:>22} {words[2]:>22} {words[3]:>24}",
            flush=True,
        )


def whole() -> None:
    """Everything on 5,000 images: a build, the review of its likely errors with the true labels, and retraining."""
    RECIPES[FASHION.name] = FASHION
    with tempfile.TemporaryDirectory() as folder:
        began, cpu = time.perf_counter(), time.process_time()
        settings = BuildSettings.of(FASHION, 0, "cpu", flip_labels=0.1, flip_kind="confusable")
        run_dir = build_run(settings, "fashion", Path(folder))
        built = time.perf_counter() - began
        with open_run(run_dir) as run:
            for signal, of in (planted_quality(run) or {}).items():
                print(f"  {signal:24} AUROC {of.auroc:.4f}, found in first 10% {of.recall_at_10:.1%}")
            truth = dict(run.rows("SELECT train_idx, true_label FROM planted_errors"))
            first = run.rows("SELECT train_idx FROM suspects WHERE signal = 'combined' AND rank <= 750 ORDER BY rank")
            reviews = Reviews(run.path, data_fingerprint(run))
            for (train_idx,) in first:
                if train_idx in truth:
                    reviews.record(train_idx, "relabel", "truth", truth[train_idx])
            corrections = corrections_of(run, reviews.read())
        result = retrain_on_labels(run_dir, corrections, N_MODELS)
        seconds = time.perf_counter() - began
        with open_run(run_dir) as run:
            said = retraining_text(run, result).split("\n\n")[:2]
    print(
        f"Fashion-MNIST, whole: built in {built:.0f} s, reviewed and retrained after {seconds:.0f} s "
        f"({time.process_time() - cpu:.0f} CPU s)"
    )
    print(textwrap.indent("\n\n".join(said), "  "))


def contact_sheet(file: Path) -> None:
    """The first of plain digits by the combined ranking, each with its label and what is suggested."""
    subject = RECIPES["digits"].load()
    found, _ = scored(subject, subject.dataset.train.labels, 0)
    labels = subject.dataset.train.labels
    suggested = suggested_labels(found.pooled, labels)
    side, columns = 88, 8
    sheet = Image.new("RGB", (columns * side, -(-N_SHOWN // columns) * (side + 14)), "white")
    draw = ImageDraw.Draw(sheet)
    for place, idx in enumerate(ranked(found.signals["combined"])[:N_SHOWN]):
        left, top = place % columns * side, place // columns * (side + 14)
        picture = Image.open(io.BytesIO(subject.dataset.train.thumbnails[idx])).convert("RGB")
        sheet.paste(picture.resize((72, 72), Image.Resampling.NEAREST), (left + 8, top + 2))
        draw.text((left + 8, top + 76), f"{labels[idx]}, or {suggested[idx]}?", fill="black")
    sheet.save(file, optimize=True)
    print(f"contact sheet: {file}")


def main() -> None:
    """Prints what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--whole", action="store_true", help="time a whole run on Fashion-MNIST")
    parser.add_argument("--contact-sheet", type=Path)
    asked = parser.parse_args()
    recipes = {"digits": RECIPES["digits"], "fashion": FASHION, "trec": TREC}
    for name in asked.data:
        if name != "digits" and not DATA.exists():
            print(f"\n{name}: skipped, {DATA} is absent")
            continue
        subject = recipes[name].load()
        find_errors(name, subject, asked.seeds)
        if name == "digits":
            mend(subject, asked.seeds)
    if asked.whole:
        whole()
    if asked.contact_sheet:
        contact_sheet(asked.contact_sheet)


if __name__ == "__main__":
    main()
