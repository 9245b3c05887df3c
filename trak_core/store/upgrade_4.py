"""From version 4 of the store to version 5: classes become targets, and examples may have an origin and more media."""

import json
from typing import Any

import duckdb

_STATEMENTS = """
ALTER TABLE examples ADD COLUMN origin VARCHAR;
CREATE TABLE media(
    split VARCHAR, idx INTEGER, place INTEGER, kind VARCHAR, name VARCHAR, text VARCHAR, content BLOB, marks VARCHAR);
ALTER TABLE class_scores RENAME TO target_scores;
ALTER TABLE target_scores RENAME COLUMN asked_class TO target;
UPDATE target_scores SET target = target + 1;
ALTER TABLE class_lds RENAME TO target_lds;
ALTER TABLE target_lds RENAME COLUMN asked_class TO target;
UPDATE target_lds SET target = target + 1;
ALTER TABLE class_outcomes RENAME TO target_outcomes;
ALTER TABLE target_outcomes ALTER COLUMN model_outputs TYPE FLOAT[];
CREATE TABLE targets(test_idx INTEGER, target INTEGER, name VARCHAR);
ALTER TABLE suspects ADD COLUMN split VARCHAR;
UPDATE suspects SET split = 'train';
"""
_TARGETS = """
INSERT INTO targets
SELECT idx, 0, label_name FROM examples WHERE split = 'test' AND idx IN (SELECT test_idx FROM target_scores)
UNION ALL SELECT DISTINCT test_idx, target, (?::VARCHAR[])[target] FROM target_scores
ORDER BY 1, 2
"""
_WITHOUT_CLASSES = """
UPDATE examples SET label = NULL;
UPDATE predictions SET p_label = NULL, predicted = NULL, probabilities = NULL;
"""
_RENAMED = {
    "calibration_of_other_classes": "calibration_of_other_targets",
    "calibration_slope_of_other_classes": "calibration_slope_of_other_targets",
}
_KINDS = {"vocabulary": "vocabulary", "pixels": "pixels", "tokens": "word_ids", "pieces": "subword_tokens"}
"""Kinds of encodings, each of which had a key of its own."""


def upgrade_4(connection: duckdb.DuckDBPyConnection) -> None:
    """Changes the tables and the metadata; leaves the version to the caller."""
    connection.execute(_STATEMENTS)
    rows = connection.execute("SELECT key, value FROM meta").fetchall()
    meta: dict[str, Any] = {key: json.loads(value) for key, value in rows}
    names = [str(name) for name in meta["class_names"]]
    connection.execute(_TARGETS, [names])
    # A single class has probabilities too; the one name of a task without classes is that of its model output.
    has_answers = connection.execute("SELECT 1 FROM predictions WHERE p_label IS NOT NULL LIMIT 1").fetchone()
    if len(names) == 1 and not has_answers:
        connection.execute(_WITHOUT_CLASSES)
    kept = next(({"kind": kind, **meta[key]} for key, kind in _KINDS.items() if meta.get(key)), None)
    connection.execute("DELETE FROM meta WHERE key IN (SELECT unnest(?::VARCHAR[]))", [[*_KINDS, "asked_classes"]])
    connection.execute("INSERT INTO meta VALUES ('encoding', ?)", [json.dumps(kept)])
    for before, after in _RENAMED.items():
        connection.execute("UPDATE meta SET key = ? WHERE key = ?", [after, before])
