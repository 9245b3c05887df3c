"""What the guides tell people to type works."""

import re
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
import torch
from safetensors.torch import save_file
from streamlit.testing.v1 import AppTest
from torch.utils.data import DataLoader, TensorDataset

import trak_core as tc
from tests.pretrained import write_tiny_bert
from tests.subjects import TEST, TRAIN, make_net
from trak_core.methods import METHODS, Examples, MethodContext
from trak_core.store.schema import SCHEMA_VERSION
from trak_core.subjects import find_model
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


def test_python_of_the_guide_to_own_models_runs(tmp_path, monkeypatch):
    pytest.importorskip("transformers", reason="transformers is not installed")
    monkeypatch.chdir(tmp_path)
    write_tiny_bert(tmp_path / "my-bert")
    for name, n in (("train", 40), ("test", 10)):
        rows = [f"{('bad', 'good')[i % 2]} film {i},{i % 2}" for i in range(n)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    guide = (ROOT / "docs" / "your-own-model.md").read_text(encoding="utf-8")
    every = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    images, methods, texts, numbers, outputs, own_code, calibration = every
    for code, name, n_train in ((images, "mine", 1400), (texts, "my-texts", 40), (numbers, "my-numbers", 200)):
        exec(code, {})
        with tc.open_run(tmp_path / "data" / "runs" / name) as run:
            assert run.info.n_train == n_train
            assert "spoke for" in repr(tc.show(run, 0))
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "data" / "runs"))
    for name in ("mine", "my-texts", "my-numbers"):
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
        app.query_params["run"] = name
        app.run()
        for page in ("explore", "training_item"):
            app.switch_page(f"pages/{page}.py").run()
            assert not app.exception
            assert not app.error
    st.cache_resource.clear()
    st.cache_data.clear()
    first: dict[str, object] = {}
    exec(images.partition("attributor.save")[0], first)
    masks = np.random.default_rng(0).uniform(size=(30, 1400)) < 0.5
    outcomes = masks @ first["scores"].T  # type: ignore[attr-defined]
    exec(calibration, {**first, "masks": masks, "outcomes": outcomes})
    exec(methods, first)
    with tc.open_run(tmp_path / "data" / "runs" / "mine-by-influence") as run:
        assert run.info.method == "influence_ekfac"
        assert "spoke for" in repr(tc.show(run, 0))
    other: dict[str, object] = {}
    exec(outputs, other)
    assert other["scores"].shape == (5, 60)  # type: ignore[attr-defined]
    assert other["attributor"].plan.gradients == "hooks"  # type: ignore[attr-defined]
    (tmp_path / "guide_nets.py").write_text(own_code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    sizes = {"channels": 3, "height": 8, "width": 8, "n_classes": 4}
    model = find_model("guide_nets:small", "image").make(sizes)
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 4)


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
    scores = names["EmbeddingDot"]().fit(context)  # type: ignore[operator]
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
