"""Classifiers of Hugging Face in `build table`: whole and by adapters, encoders and decoders, of any head."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.language import tiny_gpt2, word_tokenizer
from trak_core.datasets.custom_data import CustomData
from trak_core.engine.custom_build import CustomBuild, build_custom_data
from trak_core.store.run import open_run
from trak_core.subjects.models_by_name import find_model
from trak_core.subjects.of_run import read_subject


def _folder(tmp_path: Path, kind: str) -> str:
    import transformers

    sizes = {"vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_labels": 5}
    bert = transformers.BertConfig(**sizes, intermediate_size=16, max_position_embeddings=16)
    model: Any = {
        "bert": lambda: transformers.BertForSequenceClassification(bert),
        "bert without a head": lambda: transformers.BertModel(bert),
        "gpt2": lambda: transformers.GPT2ForSequenceClassification(tiny_gpt2().config),
        "bfloat16": lambda: transformers.BertForSequenceClassification(bert).to(torch.bfloat16),
    }[kind]()
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return f"huggingface:{folder}"


@pytest.mark.parametrize("kind", ["bert", "bert without a head", "gpt2", "bfloat16"])
def test_adapters_and_the_head_are_all_that_is_trained_of_a_classifier(tmp_path: Path, kind: str):
    model = find_model(_folder(tmp_path, kind) + "?lora=2", "text").make({"n_classes": 3})
    trained = [name for name, value in model.named_parameters() if value.requires_grad]
    assert any("lora_" in name for name in trained)
    head = "score" if kind == "gpt2" else "classifier"
    assert {name.split(".")[-1] for name in trained if "lora_" not in name} <= {"weight", "bias"}
    assert all("lora_" in name or f".{head}." in name for name in trained)
    assert not any("lora_" in name and f".{head}." in name for name in trained)
    assert model(torch.ones(2, 4, dtype=torch.int64)).shape == (2, 3)
    assert {value.dtype for value in model.parameters()} == {torch.float32}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "rank"), [("bert without a head", 2), ("gpt2", 2), ("bfloat16", 0)])
def test_a_table_is_built_with_whole_classifiers_and_with_adapters(tmp_path: Path, kind: str, rank: int):
    rows = [{"text": f"w{2 + i % 30} w{3 + i % 7}", "label": ["yes", "no", "maybe"][i % 3]} for i in range(60)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    model = _folder(tmp_path, kind) + (f"?lora={rank}" if rank else "")
    asked = CustomBuild(model=model, n_checkpoints=2, n_subsets=0, n_test=6)
    data = CustomData("table", tmp_path / "t.jsonl", text="text", label="label")
    with open_run(build_custom_data(data, asked, "mine", tmp_path / "runs")) as run:
        scores = run.scores("trak")
        assert scores.shape == (6, 48)
        assert np.isfinite(scores).all()
        assert read_subject(run).dataset.fingerprint() == run.info.provenance["data_fingerprint"]
