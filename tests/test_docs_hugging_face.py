"""What the guide to language models of Hugging Face tells people to write works, in about ten lines each."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trak_core as tc
from tests.language import tiny_gpt2, tokenized, with_lora, word_tokenizer

pytest.importorskip("transformers")
pytest.importorskip("peft")
ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "hugging-face.md").read_text(encoding="utf-8")
SAVED, ADAPTERS, TRAINER = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, adapters on it, and texts."""
    monkeypatch.chdir(tmp_path)
    words = word_tokenizer()
    tiny_gpt2().save_pretrained("my-gpt2")
    words.save_pretrained("my-gpt2")
    for seed in range(2):
        with_lora(tiny_gpt2(), seed).save_pretrained(f"my-adapters/{seed}")
    for name, lengths in (("train.txt", [5, 7, 3, 9, 10, 4, 6, 8, 5, 6]), ("test.txt", [6, 4, 8])):
        rows = tokenized(lengths, seed=len(lengths))
        Path(name).write_text("\n".join(words.decode(row["input_ids"]) for row in rows), encoding="utf-8")
    return tmp_path


def run(code: str) -> dict[str, Any]:
    lines = [line for line in code.splitlines() if line and not line.startswith(("import ", "from "))]
    assert len(lines) <= 10
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def test_a_folder_of_save_pretrained_is_attributed_and_shown(desk):
    names = run(SAVED)
    assert names["scores"].shape == (3, 10) and np.abs(names["scores"]).max() > 0
    with tc.open_run(desk / "data" / "runs" / "my-gpt2") as saved:
        assert saved.info.provenance["task"] == "causal_lm"
        assert "spoke for" in repr(tc.show(saved, 0))


def test_a_folder_of_adapters_is_attributed(desk):
    names = run(ADAPTERS)
    assert len(names["table"]) == 15 and len(names["attributor"].checkpoints) == 2
    assert all("lora_" in layer.name for layer in names["attributor"].layers)


def test_what_a_trainer_wrote_is_attributed(desk):
    names = run(TRAINER.replace("report_to=[])", "report_to=[], disable_tqdm=True, use_cpu=True)"))
    assert len(list((desk / "out").glob("checkpoint-*"))) == 3
    assert names["scores"].shape == names["by_training"].shape == (3, 10)
    assert np.abs(names["by_training"]).max() > 0 and np.isfinite(names["by_training"]).all()
