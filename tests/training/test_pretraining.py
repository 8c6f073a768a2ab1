"""Pretraining: a model from random weights with a tokenizer of its own, and what other programs make of the result."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import zoo
from tests.checkpoints import assert_same_bytes, read_tensors, write_tokenizer
from zoo.errors import InvalidInput, TokenizerMissing, UnknownArchitecture, UnknownConfigKey, UnknownTask

TEXTS = ["the cat sat where the dog sat.", "the dog went home, and the cat went to berlin.", "who sat there?"] * 4
DATA = [{"text": text} for text in TEXTS]
SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 19}
ORACLES = {"bert": transformers.AutoModelForMaskedLM, "gpt2": transformers.AutoModelForCausalLM}


def settings(folder: Path, **changes: Any) -> zoo.FinetuneConfig:
    """Few quick steps, into a folder."""
    return zoo.FinetuneConfig(
        **{"max_steps": 30, "epochs": 30, "batch_size": 4, "learning_rate": 1e-2, "output_dir": folder, **changes}
    )


@pytest.mark.parametrize(
    ("architecture", "task", "vocab_size"), [("bert", "fill-mask", 60), ("gpt2", "text-generation", 270)]
)
def test_the_loss_falls_and_the_result_loads_in_zoo_and_in_transformers_with_equal_logits(
    tmp_path: Path, architecture: str, task: str, vocab_size: int
) -> None:
    result = zoo.pretrain(architecture, SIZES, DATA, vocab_size=vocab_size, config=settings(tmp_path / "out"))
    assert result.losses[0] > 1.7 * result.losses[-1]
    model = zoo.load(tmp_path / "out")
    assert (model.task, model.spec.vocab_size, model.fresh_parameters) == (task, vocab_size, ())
    assert model.tokenizer is not None
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    assert model.tokenizer.encode([TEXTS[0]])[0].ids == ids[0].tolist()
    oracle = ORACLES[architecture].from_pretrained(tmp_path / "out").eval()
    with torch.inference_mode():
        expected = oracle(input_ids=ids).logits
        for found in (model(input_ids=ids).logits, result.model(input_ids=ids).logits):
            torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


PAIRS = [{"source": text, "target": text.replace("the", "a")} for text in TEXTS]


@pytest.mark.parametrize(
    ("architecture", "sizes", "steps"),
    [
        ("t5", {"d_model": 24, "num_layers": 2, "num_decoder_layers": 1, "num_heads": 4, "dropout_rate": 0.0}, 80),
        ("bart", {"d_model": 24, "encoder_layers": 1, "decoder_layers": 2, "dropout": 0.0}, 240),
    ],
)
def test_an_encoder_decoder_learns_from_pairs_to_write_and_to_stop(
    tmp_path: Path, architecture: str, sizes: dict[str, Any], steps: int
) -> None:
    config = settings(tmp_path / "out", max_steps=steps, epochs=steps)
    result = zoo.pretrain(architecture, sizes, PAIRS, PAIRS[:3], task="translation", vocab_size=280, config=config)
    assert result.losses[0] > 10 * result.losses[-1]
    assert result.metrics["bleu"] > 80
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    (source,) = tokenizer([PAIRS[0]["source"]])["input_ids"]
    oracle = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out").eval()
    written = oracle.generate(torch.tensor([source]), max_new_tokens=40, num_beams=1)[0]
    (found,) = zoo.load(tmp_path / "out").generate([PAIRS[0]["source"]], max_new_tokens=40, num_beams=1)
    assert (found.text, found.finish_reason) == (tokenizer.decode(written, skip_special_tokens=True), "stop")


def test_the_task_of_an_encoder_decoder_is_to_write_a_text_for_a_text(tmp_path: Path) -> None:
    config = settings(tmp_path / "out", max_steps=1)
    sizes = {"d_model": 24, "encoder_layers": 1}
    result = zoo.pretrain("transformer", sizes, PAIRS, vocab_size=270, config=config)
    assert result.model.task == "text2text-generation"
    spec = result.model.spec.model_dump()
    ids = {name: spec[f"{name}_token_id"] for name in ("pad", "eos", "decoder_start")}
    tokenizer = result.model.tokenizer
    assert tokenizer is not None
    pad, end = tokenizer.token_id("<pad>"), tokenizer.token_id("</s>")
    assert ids == {"pad": pad, "eos": end, "decoder_start": pad}


def test_a_file_gives_the_spec_the_family_its_proportions_and_the_tokenizer_the_rest(tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text("n_embd = 128\nn_layer = 1\nactivation_function = 'relu'\n")
    for index, text in enumerate(TEXTS[:3]):
        (tmp_path / f"{index}.txt").write_text(text)
    files = [tmp_path / f"{index}.txt" for index in range(3)]
    said: list[str] = []
    config = settings(tmp_path / "out", max_steps=1)
    result = zoo.pretrain("gpt2", tmp_path / "spec.toml", files, config=config, say=said.append)
    assert result.model.tokenizer is not None
    found = result.model.spec.model_dump()
    count = result.model.tokenizer.vocab_size
    assert 257 < count < 300
    end = result.model.tokenizer.token_id("<|endoftext|>")
    expected = {"hidden_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_act": "relu"}
    expected |= {"vocab_size": count, "bos_token_id": end, "eos_token_id": end, "pad_token_id": None}
    assert {name: found[name] for name in expected} == expected
    assert said == [f"the texts give a vocabulary of {count} tokens, not 50257"]
    assert result.model.record is not None
    assert (result.model.record.base, result.model.record.examples) == (None, 3)


def test_the_tokenizer_of_a_folder_can_be_taken(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "other")
    config = settings(tmp_path / "out", max_steps=2)
    result = zoo.pretrain("bert", {**SIZES, "vocab_size": 64}, DATA, tokenizer=tmp_path / "other", config=config)
    assert result.model.spec.vocab_size == 64
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (tmp_path / "other/tokenizer.json").read_bytes()
    with pytest.raises(InvalidInput) as refusal:
        zoo.pretrain("bert", {**SIZES, "vocab_size": 20}, DATA, tokenizer=tmp_path / "other", config=config)
    assert str(refusal.value) == (
        "vocab_size is 20 in the spec, and the tokenizer has 45 tokens; it would be at least 45, or be left out"
    )
    with pytest.raises(TokenizerMissing, match="nowhere"):
        zoo.pretrain("bert", SIZES, DATA, tokenizer=str(tmp_path / "nowhere"), config=config)


def test_a_stopped_run_goes_on_with_its_tokenizer_to_the_same_weights(tmp_path: Path) -> None:
    def run(name: str, stop: int | None = None, resume: bool = False) -> tuple[float, ...]:
        def watch(step: int, steps: int, loss: float) -> None:
            if step == stop:
                raise KeyboardInterrupt

        config = settings(tmp_path / name, max_steps=9, save_steps=2)
        return zoo.pretrain("gpt2", SIZES, DATA, vocab_size=270, config=config, resume=resume, watch=watch).losses

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("stopped", stop=5)
    kept = (tmp_path / "stopped/tokenizer.json").stat().st_mtime_ns
    assert run("stopped", resume=True) == whole
    assert (tmp_path / "stopped/tokenizer.json").stat().st_mtime_ns == kept
    assert_same_bytes(read_tensors(tmp_path / "stopped"), read_tensors(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"task": "text-generation"},
            UnknownTask,
            "The architecture 'bert' has no head for the task 'text-generation'; it would be one of: fill-mask",
        ),
        (
            {"task": "text-classification"},
            InvalidInput,
            "Random weights do not begin with 'text-classification'; pretrain 'bert' by fill-mask, "
            "then fine-tune the result with zoo finetune",
        ),
        (
            {"task": "translation"},
            UnknownTask,
            "The architecture 'bert' has no head for the task 'translation'; it would be one of: fill-mask",
        ),
        (
            {"architecture": "t5", "spec": {}},
            InvalidInput,
            "Example 0 has no 'target', which 'text2text-generation' learns from; it has: text, source",
        ),
        (
            {"train": [{"text": " "}, {"text": ""}]},
            InvalidInput,
            "No text holds anything to learn from: all are empty",
        ),
        (
            {"spec": {**SIZES, "model_type": "distilbert"}},
            InvalidInput,
            "model_type is 'distilbert' in the spec, and 'bert' is asked for; leave model_type out",
        ),
        (
            {"vocab_size": -1},
            InvalidInput,
            "vocab_size is -1; special tokens and single letters of the texts are 36 tokens already, so it would be more",
        ),
        (
            {"vocab_size": 9},
            InvalidInput,
            "vocab_size is 9; special tokens and single letters of the texts are 36 tokens already, so it would be more",
        ),
        (
            {"vocab_size": 90, "tokenizer": "some/where"},
            InvalidInput,
            "vocab_size is 90, which is of a tokenizer to train, and 'some/where' is to be taken; give one of them",
        ),
        (
            {"config": zoo.FinetuneConfig()},
            InvalidInput,
            "A pretrained model and its tokenizer are saved in output_dir, which is not given",
        ),
        (
            {"config": zoo.FinetuneConfig(output_dir="x", lora=zoo.LoraConfig())},
            InvalidInput,
            "LoRA learns beside weights that know something; from random weights all learn: leave out lora",
        ),
    ],
)
def test_what_cannot_be_pretrained_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], error: type[zoo.ZooError], message: str
) -> None:
    arguments = {"architecture": "bert", "spec": SIZES, "train": DATA, "config": settings(tmp_path / "out"), **changes}
    with pytest.raises(error) as refusal:
        zoo.pretrain(**arguments)
    assert str(refusal.value) == message
    assert not (tmp_path / "out").exists()


def test_an_architecture_and_a_field_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownArchitecture, match="'brt'"):
        zoo.pretrain("brt", SIZES, DATA, config=settings(tmp_path / "out"))
    with pytest.raises(UnknownConfigKey, match="hidden_sizes"):
        zoo.pretrain("bert", {"hidden_sizes": 24}, DATA, config=settings(tmp_path / "out"))


def test_an_architecture_without_a_task_to_begin_with_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bert = zoo.get_architecture("bert")
    heads = tuple(head for head in bert.heads if head.task != "fill-mask")
    monkeypatch.setattr("zoo.training.pretraining.get_architecture", lambda name: replace(bert, heads=heads))
    with pytest.raises(InvalidInput) as refusal:
        zoo.pretrain("bert", SIZES, DATA, config=settings(tmp_path / "out"))
    assert str(refusal.value) == (
        "The architecture 'bert' has none of the tasks that a model is pretrained by: "
        "fill-mask, text-generation, text2text-generation"
    )
