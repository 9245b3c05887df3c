"""What the guides tell people to type works."""

import re
from pathlib import Path

import pytest

import trak_core as tc
from trak_core.store.schema import SCHEMA_VERSION

ROOT = Path(__file__).resolve().parents[1]
QUERIES = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "schema.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("query", QUERIES)
def test_queries_of_the_schema_guide_run(small_run, query):
    assert len(small_run.rows(query)) <= 360


def test_there_are_queries_to_copy():
    assert len(QUERIES) == 3


def test_every_table_is_in_the_schema_guide(small_run):
    guide = (ROOT / "docs" / "schema.md").read_text(encoding="utf-8")
    rows = small_run.rows("SELECT table_name FROM duckdb_tables() WHERE database_name = 'store'")
    assert [name for (name,) in rows if f"`{name}`" not in guide] == []


def test_python_of_the_readme_runs(runs):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    assert isinstance(names["run"], tc.Run)


def test_links_between_guides_lead_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_guides_have_no_gaps_and_name_the_schema_version():
    for page in (ROOT / "docs").glob("*.md"):
        assert not re.search(r"\b(TODO|FIXME|FIRST_[A-Z]+|EVIDENCE)\b", page.read_text(encoding="utf-8")), page.name
    assert f"schema version {SCHEMA_VERSION} " in (ROOT / "docs" / "schema.md").read_text(encoding="utf-8")
