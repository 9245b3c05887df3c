"""Tables of a store. `docs/schema.md` tells what each column means."""

from dataclasses import dataclass

from trak_core.errors import InvalidSettingError

SCHEMA_VERSION = 6
MAX_ARRAY = 100_000
"""DuckDB's limit on the length of a fixed-size array (measured in 2.0.0)."""
TOP_K = 100
"""Rows of `topk` for each side of a test example, fewer when there are fewer train examples."""


@dataclass(frozen=True)
class Shape:
    """The lengths of the fixed-size arrays of a store; InvalidSettingError for one that DuckDB does not take."""

    n_train: int  # train examples: the length of a row of scores
    n_classes: int  # the length of probabilities; 0 or 1 where there are no classes
    proj_dim: int  # the length of features

    def __post_init__(self) -> None:
        lengths = {"n_train": self.n_train, "n_classes": max(1, self.n_classes), "proj_dim": self.proj_dim}
        for name, length in lengths.items():
            if not 1 <= length <= MAX_ARRAY:
                raise InvalidSettingError(f"{name}={length}; a store holds arrays of 1 to {MAX_ARRAY:,} numbers.")


_TABLES = """
CREATE TABLE meta(key VARCHAR PRIMARY KEY, value VARCHAR);
CREATE TABLE examples(
    split VARCHAR, idx INTEGER, label INTEGER, label_name VARCHAR, text VARCHAR, thumbnail BLOB, origin VARCHAR,
    PRIMARY KEY (split, idx));
CREATE TABLE media(
    split VARCHAR, idx INTEGER, place INTEGER, kind VARCHAR, name VARCHAR, text VARCHAR, content BLOB,
    marks VARCHAR);
CREATE TABLE targets(test_idx INTEGER, target INTEGER, name VARCHAR);
CREATE TABLE checkpoints(
    checkpoint_id INTEGER PRIMARY KEY, seed BIGINT, sha256 VARCHAR, train_accuracy FLOAT, test_accuracy FLOAT,
    log_sha256 VARCHAR);
CREATE TABLE predictions(
    checkpoint_id INTEGER, split VARCHAR, idx INTEGER, model_output FLOAT, loss FLOAT, p_label FLOAT,
    predicted INTEGER, probabilities FLOAT[{n_classes}]);
CREATE TABLE features(
    checkpoint_id INTEGER, split VARCHAR, idx INTEGER, q FLOAT, norm FLOAT, phi FLOAT[{proj_dim}]);
CREATE TABLE methods(
    method VARCHAR PRIMARY KEY, title VARCHAR, description VARCHAR, is_baseline BOOLEAN, seconds DOUBLE,
    fingerprint VARCHAR, calibration DOUBLE, settings VARCHAR, is_control BOOLEAN);
CREATE TABLE scores(method VARCHAR, test_idx INTEGER, "values" FLOAT[{n_train}]);
CREATE TABLE target_scores(method VARCHAR, test_idx INTEGER, target INTEGER, "values" FLOAT[{n_train}]);
CREATE TABLE topk(
    method VARCHAR, test_idx INTEGER, side VARCHAR, rank INTEGER, train_idx INTEGER, score FLOAT,
    standard_error FLOAT);
CREATE TABLE class_influence(method VARCHAR, test_class INTEGER, "values" FLOAT[{n_train}]);
CREATE TABLE self_influence(method VARCHAR, train_idx INTEGER, score DOUBLE);
CREATE TABLE subsets(subset_id INTEGER PRIMARY KEY, role VARCHAR, mask BLOB);
CREATE TABLE outcomes(subset_id INTEGER, seed INTEGER, test_idx INTEGER, model_output FLOAT);
CREATE TABLE target_outcomes(subset_id INTEGER, test_idx INTEGER, model_outputs FLOAT[]);
CREATE TABLE target_outcomes_by_seed(subset_id INTEGER, seed INTEGER, test_idx INTEGER, model_outputs FLOAT[]);
CREATE TABLE checkpoint_predictions(n_checkpoints INTEGER, subset_id INTEGER, test_idx INTEGER, predicted DOUBLE);
CREATE TABLE lds(
    method VARCHAR, test_idx INTEGER, lds DOUBLE, ci_low DOUBLE, ci_high DOUBLE, noise_ceiling DOUBLE,
    trust VARCHAR, lds_fixed DOUBLE, fixed_low DOUBLE, fixed_high DOUBLE, fixed_ceiling DOUBLE);
CREATE TABLE target_lds(
    method VARCHAR, test_idx INTEGER, target INTEGER, lds DOUBLE, ci_low DOUBLE, ci_high DOUBLE,
    noise_ceiling DOUBLE, trust VARCHAR, lds_fixed DOUBLE, fixed_low DOUBLE, fixed_high DOUBLE, fixed_ceiling DOUBLE);
CREATE TABLE lds_summary(
    method VARCHAR, n_checkpoints INTEGER, lds DOUBLE, ci_low DOUBLE, ci_high DOUBLE, noise_ceiling DOUBLE,
    n_subsets INTEGER, n_seeds INTEGER, seconds DOUBLE, calibration_slope DOUBLE, peak_megabytes DOUBLE,
    lds_fixed DOUBLE, fixed_low DOUBLE, fixed_high DOUBLE, fixed_ceiling DOUBLE);
CREATE TABLE control_comparisons(
    method VARCHAR, control VARCHAR, difference DOUBLE, ci_low DOUBLE, ci_high DOUBLE, fixed_difference DOUBLE,
    fixed_low DOUBLE, fixed_high DOUBLE);
CREATE TABLE truths(
    truth_id INTEGER PRIMARY KEY, kind VARCHAR, dropped DOUBLE, n_subsets INTEGER, n_seeds INTEGER,
    noise_ceiling DOUBLE, fixed_ceiling DOUBLE);
CREATE TABLE truth_lds(
    truth_id INTEGER, method VARCHAR, n_checkpoints INTEGER, lds DOUBLE, ci_low DOUBLE, ci_high DOUBLE,
    lds_fixed DOUBLE, fixed_low DOUBLE, fixed_high DOUBLE);
CREATE TABLE removals(
    method VARCHAR, test_idx INTEGER, k INTEGER, model_output DOUBLE, flipped BOOLEAN, unremoved DOUBLE,
    standard_error DOUBLE, n_seeds INTEGER);
CREATE TABLE out_of_fold(train_idx INTEGER PRIMARY KEY, fold INTEGER, probabilities FLOAT[{n_classes}]);
CREATE TABLE suspects(
    train_idx INTEGER, signal VARCHAR, score DOUBLE, rank INTEGER, suggested_label INTEGER,
    suggested_confidence DOUBLE, is_likely BOOLEAN, split VARCHAR);
CREATE TABLE findings(
    kind VARCHAR, train_idx INTEGER, score DOUBLE, rank INTEGER, other_split VARCHAR, other_idx INTEGER);
CREATE TABLE planted_errors(train_idx INTEGER PRIMARY KEY, true_label INTEGER);
CREATE TABLE layout(split VARCHAR, idx INTEGER, space VARCHAR, x FLOAT, y FLOAT);
"""

# Those that a build needs, or measuring further evidence, and a published store does not have.
WORKING_TABLES = """
CREATE TABLE journal(block VARCHAR PRIMARY KEY);
"""
EVIDENCE_TABLES = """
CREATE TABLE truth_subsets(truth_id INTEGER, subset INTEGER, mask BLOB);
CREATE TABLE truth_outcomes(truth_id INTEGER, subset INTEGER, seed INTEGER, test_idx INTEGER, model_output FLOAT);
CREATE TABLE datamodel_subsets(subset INTEGER, mask BLOB);
CREATE TABLE datamodel_outcomes(subset INTEGER, test_idx INTEGER, model_output FLOAT);
"""

# The order of rows in a published store: the same run gives the same file content, and what is read together
# lies together.
ORDER_BY = {
    "meta": "key",
    "examples": "split, idx",
    "media": "split, idx, place",
    "targets": "test_idx, target",
    "checkpoints": "checkpoint_id",
    "predictions": "checkpoint_id, split, idx",
    "features": "checkpoint_id, split, idx",
    "methods": "method",
    "scores": "method, test_idx",
    "target_scores": "method, test_idx, target",
    "topk": "method, test_idx, side, rank",
    "class_influence": "method, test_class",
    "subsets": "subset_id",
    "outcomes": "subset_id, seed, test_idx",
    "target_outcomes": "subset_id, test_idx",
    "target_outcomes_by_seed": "subset_id, seed, test_idx",
    "checkpoint_predictions": "n_checkpoints, subset_id, test_idx",
    "lds": "method, test_idx",
    "target_lds": "method, test_idx, target",
    "lds_summary": "method, n_checkpoints",
    "control_comparisons": "method, control",
    "truths": "truth_id",
    "truth_lds": "truth_id, method, n_checkpoints",
    "self_influence": "method, train_idx",
    "removals": "method, test_idx, k",
    "out_of_fold": "train_idx",
    "suspects": "split, signal, rank",
    "findings": "kind, rank",
    "planted_errors": "train_idx",
    "layout": "space, split, idx",
}


def create_tables(shape: Shape) -> str:
    """SQL that creates every table of an empty store; array lengths are the checked integers of `shape`."""
    return _TABLES.format(n_train=shape.n_train, n_classes=max(1, shape.n_classes), proj_dim=shape.proj_dim)
