"""What a run was made from and what it takes up, as tables with plain headings."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import pandas as pd

from trak_core.durations import time_taken
from trak_core.modalities import read_encoding
from trak_core.store.files import RunFiles
from trak_core.store.run import Run
from trak_core.views.custom_data import made_from, model_in_words

_DATA = {
    "title": "name of the data",
    "recipe": "recipe",
    "modality": "kind of example",
    "data_fingerprint": "fingerprint of the data",
}
SETTING_TITLES = {
    "seed": "seed",
    "flip_labels": "share of labels made wrong on purpose",
    "flip_kind": "kind of wrong labels",
    "device": "computed on",
    "created_at": "made at",
    "model": "model",
    "task": "task",
    "training": "training",
    "n_checkpoints": "checkpoints",
    "proj_dim": "dimension of features",
    "gradients": "gradients by",
    "kernel": "kernel",
    "ridge": "ridge",
    "calibration": "calibration for labels",
    "calibration_of_other_targets": "calibration for other targets",
    "n_subsets": "random halves",
    "n_seeds": "models a half",
    "removal_method": "method of removal",
    "removal_sizes": "sizes of removal",
    "fingerprint": "fingerprint of settings and data",
    "schema_version": "schema version",
}
"""What people call the settings in the meta table."""
_OWN_PLACE = {
    *("class_names", "versions", "tuning_tests", "method", "measured", "evidence_fingerprint"),
    *("encoding", "data_report", "model_quality", "minutes", "seconds_spent", "n_fit"),
    *("n_subsets_measured", "n_subsets_added"),
}
_REPORT = {
    "n_left_out": "skipped, because unreadable or without a class",
    "n_duplicates": "training examples that repeat an earlier one",
    "n_leaks": "test examples that are training examples too",
    "n_conflicts": "inputs with more than one label",
}
"""What people call the findings of the report that was made before a build from own data."""
LONGEST = 200
OVERDRAWN, A_MOMENT = 1.15, 3.0
"""A build kept to its minutes that took up to so many times as long, and so many seconds more."""


def metadata_table(run: Run) -> pd.DataFrame:
    """Data, settings and versions, one row each: about, what, value."""
    made = dict(run.info.provenance)
    if not made.get("flip_labels"):
        made.pop("flip_kind", None)  # says nothing where no label was made wrong
    names = ", ".join(run.info.class_names)
    rows = [
        ("data", "training examples", f"{run.info.n_train:,}"),
        ("data", "test examples", f"{run.info.n_test:,}"),
        ("data", "classes", f"{len(run.info.class_names)}: {names}" if run.info.has_classes else "none: a number"),
    ]
    if (source := made_from(run.info)) is not None:
        rows.insert(0, ("data", "made from", source))
        made.pop("title", None)
        made.pop("recipe", None)
        made["model"] = model_in_words(run.info)
    rows += [("data", title, _words(made[key])) for key, title in _DATA.items() if made.get(key) is not None]
    if (minutes := _minutes(made)) is not None:
        rows.append(("settings", "minutes", minutes))
    made["n_subsets"] = _halves(run) or made.get("n_subsets")
    encoding = read_encoding(made.get("encoding"))
    if encoding is not None and (described := encoding.description()) is not None:
        rows.append(("data", *described))
    report = made.get("data_report") or {}
    rows += [("data", title, _words(report[key])) for key, title in _REPORT.items() if report.get(key)]
    rows += [("data", "note of the reader", str(sentence)) for sentence in report.get("notes") or ()]
    rows += [
        ("settings", title, _words(made[key])) for key, title in SETTING_TITLES.items() if made.get(key) is not None
    ]
    told = {*_DATA, *SETTING_TITLES, *_OWN_PLACE}
    rows += [
        ("further", key.replace("_", " "), _words(value))
        for key, value in sorted(made.items())
        if key not in told and value not in (None, {}, [])
    ]
    rows += [("versions", name, _words(version)) for name, version in (made.get("versions") or {}).items()]
    table = pd.DataFrame(rows, columns=["about", "what", "value"])
    table["value"] = [value if len(value) <= LONGEST else f"{value[:LONGEST]} …" for value in table["value"]]
    return table


def _minutes(made: Mapping[str, Any]) -> str | None:
    """What a build was given and what it took, all its starts and extensions together; None where neither is known."""
    given, spent = (made.get(name) for name in ("minutes", "seconds_spent"))
    said = [f"{given:.3g} given in all"] if _is_number(given) else []
    said += [f"{spent / 60:.1f} spent, all starts together"] if _is_number(spent) else []
    return ", ".join(said) or None


def overdrawn(run: Run) -> str:
    """That a build took longer than it was given, in a sentence; empty where it kept to its minutes, or had none.

    Why is said where it is known: what comes in any case took all of the time, and nothing was retrained.
    """
    given, spent, n_subsets = (run.info.provenance.get(name) for name in ("minutes", "seconds_spent", "n_subsets"))
    if not (_is_number(given) and _is_number(spent)) or spent <= OVERDRAWN * 60 * given + A_MOMENT:
        return ""
    took = f"It took {time_taken(spent)} and was given {time_taken(60 * given)}"
    if n_subsets:
        return f"{took}, all starts together."
    return f"{took}: suspects, scores and the map come in any case, however long they take."


def _is_number(value: Any) -> TypeGuard[float]:
    """Whether it is one: a run that somebody sent may hold anything."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _halves(run: Run) -> str | None:
    """How many random halves models were retrained on, and what for; None where there are none."""
    n, n_fit, n_lost = run.rows(
        "SELECT count(*), count(*) FILTER (role = 'fit'), count(*) FILTER (role = 'diverged') FROM subsets"
    )[0]
    if not n:
        return None
    parts = [f"{n - n_fit - n_lost:,} measured on", f"{n_fit:,} to choose the ridge"]
    return f"{n:,}: {', '.join([*parts, *([f'{n_lost:,} diverged'] if n_lost else [])])}"


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(inner)}" for name, inner in value.items())
    return json.dumps(value)


def sizes_table(run_dir: Path) -> pd.DataFrame:
    """What the run takes up on disk: part, number of files, megabytes."""
    files = RunFiles(run_dir)
    parts = {
        "store: everything that pages show": [files.store],
        "checkpoints: the weights": files.checkpoints.glob("model_*"),
        "training logs": files.checkpoints.glob("log_*"),
        "reviews: what people wrote down": [files.reviews],
        "features of an Attributor, may be deleted": [files.features],
        "building site": files.build.rglob("*"),
    }
    rows = []
    for part, paths in parts.items():
        sizes = [size for path in paths if (size := _size(path)) is not None]
        if sizes:
            rows.append((part, len(sizes), sum(sizes) / 1e6))
    return pd.DataFrame(rows, columns=["part", "files", "megabytes"])


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:  # gone meanwhile
        return None


def checkpoints_table(run: Run) -> pd.DataFrame:
    """Checkpoints, one row each: their number, seed, accuracies, and the beginning of their SHA-256."""
    rows = run.rows(
        "SELECT checkpoint_id, seed::VARCHAR, train_accuracy::DOUBLE, test_accuracy::DOUBLE, left(sha256, 12), "
        "log_sha256 IS NOT NULL FROM checkpoints ORDER BY checkpoint_id"
    )
    names = ["checkpoint", "seed", "training accuracy", "test accuracy", "SHA-256 begins", "training log"]
    # Seeds have up to 19 digits, and tables in a browser round beyond 15: they are text.
    return pd.DataFrame(rows, columns=names).astype({"training accuracy": float, "test accuracy": float})


def methods_table(run: Run) -> pd.DataFrame:
    """Methods, one row each: title, cost, calibration, and what they chose, in words."""
    rows = run.rows(
        "SELECT title, is_baseline, seconds, calibration, settings, left(fingerprint, 12), description FROM methods "
        "ORDER BY is_baseline, title"
    )
    names = ["method", "baseline", "CPU seconds", "calibration", "settings", "fingerprint begins", "what it does"]
    table = pd.DataFrame(rows, columns=names).astype({"CPU seconds": float, "calibration": float})
    table["settings"] = [_words(json.loads(row[4])) if row[4] else "" for row in rows]
    return table
