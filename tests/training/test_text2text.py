"""Summarization and translation are taught: teacher forcing, the decoder's start, label smoothing, written answers measured."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import zoo
from tests.checkpoints import change_config
from tests.generation.samples import BART, T5, write
from zoo.errors import InvalidInput
from zoo.tasks import get_task
from zoo.tasks.base import collate

PAIRS = [("cat", "dog"), ("good", "bad"), ("home", "paris"), ("anna", "karin"), ("ran", "sat")]
EXAMPLES = [{"source": f"the {one}", "target": f"a {other} very {other}"} for one, other in PAIRS]
MODELS = {
    "t5": (
        "T5ForConditionalGeneration",
        transformers.T5Config(**T5, eos_token_id=3, decoder_start_token_id=0, dropout_rate=0.0),
    ),
    "bart": ("BartForConditionalGeneration", transformers.BartConfig(**BART, forced_eos_token_id=None, dropout=0.0)),
}


@pytest.fixture(params=MODELS)
def checkpoint(request: Any, tmp_path: Path) -> tuple[Any, Path]:
    """transformers' model, and the folder that it was saved in."""
    class_name, config = MODELS[request.param]
    return write(tmp_path / request.param, class_name, config), tmp_path / request.param


def test_the_loss_is_that_of_transformers_on_the_same_pairs(checkpoint: tuple[Any, Path]) -> None:
    oracle, folder = checkpoint
    model, task = zoo.load(folder, "summarization"), get_task("summarization")
    features = task.encode_examples([*EXAMPLES[:3], {"source": "the cat sat", "target": "a cat"}], model, None)
    inputs = collate(features, model.pad_token_id, torch.device("cpu"))
    labels = task.collate_labels(features, inputs["input_ids"].shape[1], model.settings)
    assert labels[-1, -1] == -100 and labels.shape[1] != inputs["input_ids"].shape[1]
    assert task.weight(labels) == sum(len(feature.label) for feature in features)
    expected = oracle(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"].long(), labels=labels)
    output = model(**inputs, labels=labels)
    torch.testing.assert_close(output.loss, expected.loss, atol=1e-5, rtol=0)
    smoother = transformers.trainer_pt_utils.LabelSmoother(epsilon=0.1)
    smoothed = task.smooth(output, labels, 0.1)
    torch.testing.assert_close(smoothed, smoother(expected, labels), atol=1e-5, rtol=0)


def test_smoothed_labels_are_learnt_from_and_measured_without(tmp_path: Path) -> None:
    """The first step's loss is the smoothed one; an evaluation's never is."""
    write(tmp_path, *MODELS["bart"])
    results = []
    for share in (0.0, 0.3):
        config = zoo.FinetuneConfig(max_steps=1, batch_size=5, learning_rate=1e-12, label_smoothing=share)
        results.append(zoo.finetune(str(tmp_path), EXAMPLES, EXAMPLES, task="translation", config=config))
    plain, smoothed = results
    assert plain.losses[0] == pytest.approx(plain.metrics["eval_loss"], abs=1e-5)
    assert smoothed.metrics["eval_loss"] == pytest.approx(plain.metrics["eval_loss"], abs=1e-5)
    assert abs(smoothed.losses[0] - plain.losses[0]) > 0.05


@pytest.mark.parametrize("task", ["translation", "summarization"])
def test_pairs_are_learnt_and_what_is_written_is_measured(checkpoint: tuple[Any, Path], task: str) -> None:
    _, folder = checkpoint
    losses: list[float] = []
    config = zoo.FinetuneConfig(epochs=120, batch_size=5, learning_rate=5e-3, warmup_steps=0.1)
    result = zoo.finetune(
        str(folder),
        EXAMPLES,
        EXAMPLES,
        task=task,
        config=config,
        watch=lambda step, steps, loss: losses.append(loss),
    )
    assert sum(losses[-5:]) < sum(losses[:5]) / 4
    written = result.model.generate([example["source"] for example in EXAMPLES], max_new_tokens=9)
    assert [answer.text for answer in written] == [example["target"] for example in EXAMPLES]
    names = ("bleu", "chrf") if task == "translation" else ("rouge1", "rouge2", "rougeL")
    assert list(result.metrics) == ["train_loss", "eval_loss", *names]
    assert result.metrics[names[-1]] == pytest.approx(100 if task == "translation" else 1)


def test_a_source_gets_the_prefix_that_the_checkpoint_was_trained_to_find(tmp_path: Path) -> None:
    class_name, config = MODELS["t5"]
    write(tmp_path, class_name, config)
    change_config(tmp_path, task_specific_params={"summarization": {"prefix": "the good film: "}})
    model, task = zoo.load(tmp_path, "summarization"), get_task("summarization")
    assert model.tokenizer is not None
    (feature,) = task.encode_examples([{"source": "the cat", "target": "a dog"}], model, None)
    assert feature.ids == model.tokenizer.encode(["the good film: the cat"])[0].ids
    assert feature.reference == ("the cat", "a dog")


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ({"source": "the cat", "target": " "}, "Example 1 has an empty 'target'; leave it out"),
        ({"source": "", "target": "a dog"}, "Example 1 has an empty 'source'; leave it out"),
        ({"source": "the cat", "target": ["a"]}, "Input 1 is ['a']; a text is expected"),
        (
            {"source": "the cat"},
            "Example 1 has no 'target', which 'translation' learns from; it has: source",
        ),
        (
            {"source": "the cat", "target": "a dog " * 9},
            "Example 1 has more than max_length's 8 tokens; shorten them, or accept that they are cut at the end with "
            "--truncate (truncate=True)",
        ),
    ],
)
def test_bad_pairs_are_refused(tmp_path: Path, example: dict[str, Any], message: str) -> None:
    write(tmp_path, *MODELS["bart"])
    with pytest.raises(InvalidInput) as raised:
        zoo.finetune(str(tmp_path), [EXAMPLES[0], example], task="translation", config=zoo.FinetuneConfig(max_length=8))
    assert str(raised.value) == message


def test_label_smoothing_is_refused_where_nothing_is_written(tmp_path: Path) -> None:
    write(tmp_path, *MODELS["bart"])
    spec = zoo.make_spec("bert", vocab_size=53, hidden_size=24, num_hidden_layers=1, num_attention_heads=4)
    model = zoo.build(spec, "text-classification", labels=["a", "b"])
    model.tokenizer = zoo.load(tmp_path).tokenizer
    with pytest.raises(InvalidInput) as raised:
        zoo.finetune(model, [{"text": "cat", "label": "a"}], config=zoo.FinetuneConfig(label_smoothing=0.1))
    assert str(raised.value) == "label_smoothing is 0.1; 'text-classification' learns without it, so it would be 0"
