"""What the guides tell people to type works."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader, TensorDataset

import trak_core as tc
from tests.subjects import TEST, TRAIN, make_net
from trak_core.methods import METHODS, Examples, MethodContext
from trak_core.store.schema import SCHEMA_VERSION
from trak_core.tasks import Classification

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


def test_python_of_the_readme_runs(runs, tmp_path, monkeypatch):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    of_a_run, of_a_model = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    names: dict[str, object] = {}
    exec(of_a_run, names)
    assert isinstance(names["run"], tc.Run)
    monkeypatch.chdir(tmp_path)
    models = [make_net(seed, n_classes=2) for seed in (1, 2)]
    save_file(models[0].state_dict(), "first.safetensors")
    torch.save(models[1].state_dict(), "second.pt")
    names["model"] = models[0]
    for name, (inputs, labels) in {"train_loader": TRAIN, "test_loader": TEST}.items():
        names[name] = DataLoader(TensorDataset(inputs, labels % 2), batch_size=10)
    exec(of_a_model, names)
    with tc.open_run(tmp_path / "data" / "runs" / "mine") as run:
        assert run.info.class_names == ("cat", "dog")


def test_the_method_of_the_guide_works_and_is_like_the_registered_ones():
    guide = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    model, (inputs, labels), (test_inputs, test_labels) = make_net(1), TRAIN, TEST
    context = MethodContext(
        Classification(),
        model,
        [dict(model.named_parameters())],
        Examples(inputs, labels),
        Examples(test_inputs, test_labels),
    )
    scores = names["embedding_dot"].fit(context)  # type: ignore[attr-defined]
    assert torch.cat(list(scores.blocks())).shape == (len(test_labels), len(labels))


def test_every_method_is_in_the_guide():
    guide = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert [name for name in METHODS if f"`{name}`" not in guide] == []


def test_links_between_guides_lead_somewhere():
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_guides_have_no_gaps_and_name_the_schema_version():
    for page in (ROOT / "docs").glob("*.md"):
        assert not re.search(r"\b(TODO|FIXME|FIRST_[A-Z]+|EVIDENCE)\b", page.read_text(encoding="utf-8")), page.name
    assert f"schema version {SCHEMA_VERSION} " in (ROOT / "docs" / "schema.md").read_text(encoding="utf-8")


def test_the_changelog_tells_of_this_version():
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == tc.__version__
