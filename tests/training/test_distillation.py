"""Distillation: the losses against others' computations, the student's start, and what becomes of it."""

import re
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import zoo
from tests.checkpoints import assert_same_bytes, read_tensors, write_checkpoint, write_tokenizer
from tests.generation.samples import BART, T5, write
from tests.training.samples import make_dropless, make_model
from zoo.errors import InvalidInput
from zoo.tasks import get_task
from zoo.tasks.base import HeadSettings, Output
from zoo.tokenization import load_tokenizer
from zoo.training.distillation import Distillation, make_student, state_loss

TEXTS = ["the cat sat where the dog sat .", "anna went home to berlin and paris .", "who was very good ?"] * 3
DATA = [{"text": text} for text in TEXTS]
STUDENT = {"model_type": "distilbert", "dropout": 0.0, "attention_dropout": 0.0}


QUESTIONS = [
    {
        "question": "who sat ?",
        "context": context,
        "answers": {"text": [answer], "answer_start": [context.index(answer)]},
    }
    for context, answer in (("anna sat in berlin", "anna"), ("the dog ran home and the cat sat", "the cat"))
]
PAIRS = [{"text": text, "positive": other} for text, other in pairwise(TEXTS)]


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """A folder with a masked language model of four layers, every parameter at random."""
    write_checkpoint(tmp_path / "teacher", "BertForMaskedLM", num_hidden_layers=4)
    write_tokenizer(tmp_path / "teacher")
    return tmp_path / "teacher"


def settings(**changes: Any) -> zoo.DistillConfig:
    """Few quick steps."""
    return zoo.DistillConfig(**{"max_steps": 40, "epochs": 40, "batch_size": 3, "learning_rate": 3e-3, **changes})


def random_outputs(scores: tuple[int, ...], hidden: int = 5) -> tuple[Output, Output]:
    """Outputs of two models. scores: shape of the logits."""
    generator = torch.Generator().manual_seed(0)
    shape = (*scores[:2], hidden) if len(scores) == 3 else (scores[0], 7, hidden)
    pair = [
        Output(torch.randn(shape, generator=generator), logits=2 * torch.randn(scores, generator=generator))
        for _ in range(2)
    ]
    return pair[0], pair[1]


def soft_loss(output: Output, taught: Output, counts: Tensor, temperature: float, task: str = "fill-mask") -> Tensor:
    """What the task makes of both."""
    return get_task(task).soft_loss(output, taught, counts, HeadSettings(), temperature)


def divergence(taught: Tensor, found: Tensor, temperature: float) -> float:
    """The divergence of two rows of scores, term by term."""
    p = [float(score) / temperature for score in taught]
    q = [float(score) / temperature for score in found]
    wanted = torch.tensor(p, dtype=torch.float64).softmax(0).tolist()
    given = torch.tensor(q, dtype=torch.float64).softmax(0)
    return sum(w * (torch.tensor(w).log().item() - g.log().item()) for w, g in zip(wanted, given, strict=True))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_soft_targets_are_compared_over_the_tokens_that_count(temperature: float) -> None:
    student, taught = random_outputs((3, 7, 11))
    counts = torch.tensor([[True] * 7, [True] * 4 + [False] * 3, [True] + [False] * 6])
    assert student.logits is not None and taught.logits is not None
    terms = [
        divergence(taught.logits[row, place], student.logits[row, place], temperature)
        for row, place in counts.nonzero().tolist()
    ]
    expected = torch.tensor(sum(terms) / 12 * temperature**2, dtype=torch.float32)
    torch.testing.assert_close(soft_loss(student, taught, counts, temperature), expected, rtol=1e-5, atol=0)


def test_soft_targets_of_texts_are_compared_text_by_text() -> None:
    student, taught = random_outputs((3, 4))
    assert student.logits is not None and taught.logits is not None
    terms = [divergence(taught.logits[row], student.logits[row], 2.0) for row in range(3)]
    found = soft_loss(student, taught, torch.ones(3, 7, dtype=torch.bool), 2.0, "text-classification")
    torch.testing.assert_close(found, torch.tensor(sum(terms) / 3 * 4, dtype=torch.float32), rtol=1e-5, atol=0)


def test_hidden_states_are_compared_by_their_angle_as_torchs_own_loss_does() -> None:
    student, taught = random_outputs((3, 7, 11))
    counts = torch.arange(21).reshape(3, 7) % 4 != 1
    found, wanted = student.last_hidden_state[counts], taught.last_hidden_state[counts]
    expected = torch.nn.functional.cosine_embedding_loss(found, wanted, torch.ones(len(found)))
    torch.testing.assert_close(state_loss(student, taught, counts), expected)


def test_the_loss_is_the_weighted_sum_of_the_three() -> None:
    teacher, student = make_dropless("fill-mask"), make_dropless("fill-mask", num_hidden_layers=1)
    inputs = {"input_ids": torch.arange(1, 13).reshape(2, 6), "attention_mask": torch.ones(2, 6, dtype=torch.bool)}
    labels = torch.full((2, 6), -100)
    labels[0, 3], labels[1, 1] = 5, 8
    output, taught = student(**inputs, labels=labels), teacher(**inputs)
    parts = [soft_loss(output, taught, inputs["attention_mask"], 3.0), output.loss]
    parts += [state_loss(output, taught, inputs["attention_mask"])]
    config = zoo.DistillConfig(temperature=3.0, soft_weight=0.7, task_weight=1.9, cosine_weight=0.3)
    for compares, factors in ((True, (0.7, 1.9, 0.3)), (False, (0.7, 1.9, 0.0))):
        found = Distillation(teacher, get_task("fill-mask"), config, compares)(student, inputs, labels)
        expected = sum(factor * part for factor, part in zip(factors, parts, strict=True))
        torch.testing.assert_close(found, expected)


def test_every_second_layer_and_all_else_that_fits_is_the_students_start(teacher: Path) -> None:
    taught = zoo.load(teacher)
    student = make_student(taught, {"model_type": "distilbert"}, seed=3)
    sizes = student.spec.model_dump()
    assert (sizes["num_hidden_layers"], sizes["hidden_size"], sizes["intermediate_size"]) == (2, 24, 40)
    own, given = dict(student.named_parameters()), dict(taught.named_parameters(remove_duplicate=False))
    assert student.fresh_parameters == ()
    for name, parameter in own.items():
        source = name.replace("layers.1.", "layers.2.")
        assert parameter.equal(given[source]), name
        assert parameter.data_ptr() != given[source].data_ptr(), name


def test_what_does_not_fit_starts_fresh_and_is_named(teacher: Path) -> None:
    taught = zoo.load(teacher)
    student = make_student(taught, {"intermediate_size": 36, "num_hidden_layers": 1}, seed=3)
    feedforward = tuple(f"backbone.layers.0.feedforward.{name}" for name in ("up.weight", "up.bias", "down.weight"))
    assert student.fresh_parameters == feedforward


def test_the_loss_falls_and_the_student_loads_in_zoo_and_in_transformers_with_equal_logits(
    teacher: Path, tmp_path: Path
) -> None:
    before = read_tensors(teacher)
    said: list[str] = []
    config = settings(output_dir=tmp_path / "out")
    result = zoo.distill(teacher, STUDENT, DATA, config=config, say=said.append)
    assert sum(result.losses[:4]) > 1.5 * sum(result.losses[-4:])
    assert said == ["41 of 41 parameters start as the teacher's"]
    assert_same_bytes(read_tensors(teacher), before)
    model = zoo.load(tmp_path / "out")
    assert (model.architecture.name, model.task, model.fresh_parameters) == ("distilbert", "fill-mask", ())
    assert model.tokenizer is not None
    ids = torch.tensor([model.tokenizer.encode([TEXTS[0]])[0].ids])
    oracle = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "out").eval()
    assert type(oracle).__name__ == "DistilBertForMaskedLM"
    with torch.inference_mode():
        expected = oracle(input_ids=ids).logits
        torch.testing.assert_close(model(input_ids=ids).logits, expected, rtol=1e-5, atol=2e-6)


def test_a_student_comes_nearer_to_its_teachers_answers(teacher: Path) -> None:
    taught = zoo.load(teacher)
    student = make_student(taught, STUDENT, seed=0)
    ids = torch.tensor([taught.tokenizer.encode([TEXTS[1]])[0].ids])  # type: ignore[union-attr]
    everywhere = torch.ones_like(ids, dtype=torch.bool)
    result = zoo.distill(taught, STUDENT, DATA, config=settings(task_weight=0.0))
    with torch.inference_mode():
        far, near = (soft_loss(model(ids), taught(ids), everywhere, 1.0) for model in (student.eval(), result.model))
    assert near < 0.5 * far


def test_a_narrower_student_learns_without_the_angle_and_that_is_said(teacher: Path) -> None:
    said: list[str] = []
    config = settings(max_steps=1)
    zoo.distill(teacher, {"hidden_size": 12}, DATA, config=config, say=said.append)
    assert said[1:] == [
        "hidden_size is 12, and the teacher's is 24: hidden states are not compared, and cosine_weight counts for nothing"
    ]


def test_texts_go_on_in_pieces_that_the_teacher_can_read_too(teacher: Path) -> None:
    long = [{"text": " ".join(TEXTS[:3])}]
    student = {"max_position_embeddings": 40}
    result = zoo.distill(teacher, student, long, config=settings(max_steps=1))
    assert result.model.max_length == 40
    assert result.model.fresh_parameters == ("backbone.embeddings.positions.weight",)


def test_a_classifier_is_distilled_with_its_labels(tmp_path: Path) -> None:
    taught = make_model()
    write_tokenizer(tmp_path)
    taught.tokenizer = load_tokenizer(tmp_path)
    examples = [{"text": text, "label": taught.labels[index % 5]} for index, text in enumerate(TEXTS)]
    result = zoo.distill(taught, STUDENT, examples, config=settings(max_steps=2))
    assert (result.model.task, result.model.labels) == ("text-classification", taught.labels)
    assert result.model.predict(["the cat sat"])[0].label in taught.labels


def test_a_stopped_run_goes_on_to_the_same_weights(teacher: Path, tmp_path: Path) -> None:
    def run(name: str, stop: int | None = None, resume: bool = False) -> tuple[float, ...]:
        def watch(step: int, steps: int, loss: float) -> None:
            if step == stop:
                raise KeyboardInterrupt

        config = settings(output_dir=tmp_path / name, max_steps=7, save_steps=2)
        return zoo.distill(teacher, {}, DATA, config=config, resume=resume, watch=watch).losses

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("stopped", stop=5)
    assert run("stopped", resume=True) == whole
    assert_same_bytes(read_tensors(tmp_path / "stopped"), read_tensors(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("student", "config", "message"),
    [
        (
            {"vocab_size": 54},
            {},
            "vocab_size is 54, and the teacher's is 53; the tokenizer is the same, so they would be equal: leave it out",
        ),
        (
            {},
            {"soft_weight": 0, "task_weight": 0, "cosine_weight": 0},
            "soft_weight, task_weight and cosine_weight are all 0; at least one would be above it",
        ),
        (
            {},
            {"lora": zoo.LoraConfig()},
            "LoRA learns beside weights that stay as they are; a student's all learn: leave out lora",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    teacher: Path, student: dict[str, Any], config: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        zoo.distill(teacher, student, DATA, config=settings(**config))
    assert str(refusal.value) == message


# --- answers that are no single label ---------------------------------------------------------------------------------


def test_starts_and_ends_are_compared_over_the_tokens_of_each_text() -> None:
    generator = torch.Generator().manual_seed(2)
    counts = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    student, taught = (
        Output(torch.zeros(2, 5, 4), start_logits=torch.randn(2, 5, generator=generator), end_logits=torch.randn(2, 5))
        for _ in range(2)
    )
    terms = []
    for row, length in ((0, 5), (1, 3)):
        for name in ("start_logits", "end_logits"):
            pair = [getattr(output, name)[row, :length] for output in (taught, student)]
            terms.append(divergence(*pair, 3.0))
    found = soft_loss(student, taught, counts, 3.0, "question-answering")
    torch.testing.assert_close(found, torch.tensor(sum(terms) / 4 * 9, dtype=torch.float32), rtol=1e-5, atol=0)


def test_labels_that_do_not_exclude_each_other_are_compared_one_by_one() -> None:
    student, taught = random_outputs((3, 4))
    assert student.logits is not None and taught.logits is not None
    student.logits.requires_grad_()
    settings = HeadSettings(("a", "b", "c", "d"), "multi_label_classification")
    counts = torch.ones(3, 7, dtype=torch.bool)
    found = get_task("text-classification").soft_loss(student, taught, counts, settings, 2.0)
    pairs = [torch.stack([scores, torch.zeros_like(scores)], -1) for scores in (taught.logits, student.logits.detach())]
    terms = [divergence(pairs[0][place], pairs[1][place], 2.0) for place in product(range(3), range(4))]
    torch.testing.assert_close(
        found.detach(), torch.tensor(sum(terms) / 12 * 4, dtype=torch.float32), rtol=1e-4, atol=0
    )
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(student.logits / 2, (taught.logits / 2).sigmoid())
    own, other = (torch.autograd.grad(loss, student.logits, retain_graph=True)[0] for loss in (found, 4 * entropy))
    torch.testing.assert_close(own, other)
    assert float(get_task("text-classification").soft_loss(taught, taught, counts, settings, 2.0)) == 0


def test_numbers_and_vectors_are_compared_by_the_mean_square_of_their_difference() -> None:
    student, taught = random_outputs((3, 1))
    counts = torch.tensor([[True] * 7, [True] * 4 + [False] * 3, [True] + [False] * 6])
    regression, plain = HeadSettings(("score",), "regression"), HeadSettings()
    found = get_task("text-classification").soft_loss(student, taught, counts, regression, 9.0)
    numbers = [float(s - t) ** 2 for s, t in zip(student.logits, taught.logits, strict=True)]  # type: ignore[arg-type]
    torch.testing.assert_close(found, torch.tensor(sum(numbers) / 3))
    found = get_task("feature-extraction").soft_loss(student, taught, counts, plain, 9.0)
    means = [
        student.last_hidden_state[row, :length].mean(0) - taught.last_hidden_state[row, :length].mean(0)
        for row, length in ((0, 7), (1, 4), (2, 1))
    ]
    torch.testing.assert_close(found, torch.stack(means).square().mean())


@pytest.mark.parametrize(
    ("task", "labels", "examples"),
    [
        ("question-answering", None, QUESTIONS),
        ("feature-extraction", None, PAIRS),
        ("text-classification", "multi_label_classification", [{"text": text, "label": ["b", "c"][:n]} for n, text in
                                                               enumerate(TEXTS[:3])]),
        ("text-classification", "regression", [{"text": text, "label": n / 4} for n, text in enumerate(TEXTS[:3])]),
    ],
    ids=["questions", "vectors", "several labels", "numbers"],
)  # fmt: skip
def test_a_student_comes_nearer_to_answers_of_every_sort_and_keeps_their_meaning(
    tmp_path: Path, task: str, labels: Any, examples: list[dict[str, Any]]
) -> None:
    names = {None: None, "regression": ["score"], "multi_label_classification": ["a", "b", "c"]}[labels]
    taught = zoo.build(make_dropless().spec, task, labels=names, seed=2)
    taught.settings = replace(taught.settings, problem_type=labels)
    write_tokenizer(tmp_path)
    taught.tokenizer = load_tokenizer(tmp_path)
    config = settings(task_weight=0.0, cosine_weight=0.0, learning_rate=1e-2, output_dir=tmp_path / "out")
    result = zoo.distill(taught, {"num_hidden_layers": 1}, examples, config=config)
    assert sum(result.losses[:4]) > 2 * sum(result.losses[-4:])
    model = zoo.load(tmp_path / "out")
    assert (model.task, model.settings.labels, model.settings.problem_type) == (
        task, taught.settings.labels, taught.settings.problem_type,
    )  # fmt: skip


def test_a_students_vectors_are_pooled_as_its_teachers(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "teacher", num_hidden_layers=4)
    write_tokenizer(tmp_path / "teacher")
    (tmp_path / "teacher" / "modules.json").write_text(
        '[{"type": "sentence_transformers.models.Transformer", "path": ""}, '
        '{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}, '
        '{"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}]'
    )
    (tmp_path / "teacher" / "1_Pooling").mkdir()
    (tmp_path / "teacher" / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    taught = zoo.load(tmp_path / "teacher")
    result = zoo.distill(taught, {}, PAIRS, config=settings(output_dir=tmp_path / "out", task_weight=0.0, max_steps=80))
    found = zoo.load(tmp_path / "out").embed(TEXTS[:3])
    assert found.equal(result.model.embed(TEXTS[:3]))
    assert found.equal(result.model.embed(TEXTS[:3], "cls", True))
    before = make_student(taught, {}, seed=0).embed(TEXTS[:3])
    far, near = ((1 - (vectors * taught.embed(TEXTS[:3])).sum(-1)).mean() for vectors in (before, found))
    assert near < 0.5 * far


def test_vectors_are_learnt_from_texts_that_have_no_pair(tmp_path: Path) -> None:
    taught = make_dropless("feature-extraction")
    write_tokenizer(tmp_path)
    taught.tokenizer = load_tokenizer(tmp_path)
    config = settings(task_weight=0.0, cosine_weight=0.0, columns={"positive": "text"})
    result = zoo.distill(taught, {"num_hidden_layers": 1}, DATA, config=config)
    assert sum(result.losses[:4]) > 2 * sum(result.losses[-4:])


def test_vectors_of_another_width_are_refused(teacher: Path) -> None:
    with pytest.raises(InvalidInput) as refusal:
        zoo.distill(teacher, {"hidden_size": 12}, PAIRS, task="feature-extraction", config=settings())
    assert str(refusal.value) == (
        "hidden_size is 12, and the teacher's vectors have 24 numbers; to be compared they would be equal: leave it out"
    )


@pytest.mark.parametrize(
    ("class_name", "config", "student"),
    [
        ("T5ForConditionalGeneration", transformers.T5Config(**T5, eos_token_id=3, decoder_start_token_id=0),
         {"num_decoder_layers": 1}),
        ("BartForConditionalGeneration", transformers.BartConfig(**BART), {"decoder_layers": 1}),
    ],
)  # fmt: skip
def test_a_text_for_a_text_is_distilled_token_by_token_of_the_target(
    tmp_path: Path, class_name: str, config: Any, student: dict[str, Any]
) -> None:
    write(tmp_path / "teacher", class_name, config)
    write_tokenizer(tmp_path / "teacher")
    examples = [{"source": text, "target": other} for text, other in pairwise(TEXTS[:4])]
    taught = zoo.load(tmp_path / "teacher", "summarization")
    result = zoo.distill(taught, student, examples, config=settings(task_weight=0.0, output_dir=tmp_path / "out"))
    assert sum(result.losses[:4]) > 1.5 * sum(result.losses[-4:])
    assert len(list(result.model.backbone.decoder.layers)) == 1  # type: ignore[union-attr,arg-type]
    assert zoo.load(tmp_path / "out", "summarization").generate(TEXTS[:2]) == result.model.generate(TEXTS[:2])


# --- the card ---------------------------------------------------------------------------------------------------------


def test_the_card_of_a_student_names_its_teacher_and_how_it_was_taught(teacher: Path, hub: Any) -> None:
    (teacher / "README.md").write_text("---\nlicense: mit\nlanguage: en\n---\n")
    commit = zoo.push(teacher, "me/teacher", endpoint=hub.endpoint, token=hub.token)
    taught = zoo.load("me/teacher", endpoint=hub.endpoint)
    config = zoo.DistillConfig(max_steps=1, temperature=3.0, cosine_weight=0.5)
    result = zoo.distill(taught, {"num_hidden_layers": 1}, DATA, config=config)
    zoo.push(result.model, "me/student", endpoint=hub.endpoint, token=hub.token)
    card = (zoo.pull("me/student", endpoint=hub.endpoint).path / "README.md").read_text()
    head, rest = card.split("## Training\n\n")
    assert head == CARD_HEAD.replace("TEACHER", f"[me/teacher](https://huggingface.co/me/teacher) at commit `{commit}`")
    assert rest.split("\n\n")[0] == CARD_TAUGHT
    rows = dict(re.findall(r"^\| (\w+) \| (.*) \|$", rest, re.MULTILINE))
    assert {key: rows[key] for key in ("temperature", "soft_weight", "task_weight", "cosine_weight", "max_steps")} == {
        "temperature": "3.0", "soft_weight": "5.0", "task_weight": "2.0", "cosine_weight": "0.5", "max_steps": "1",
    }  # fmt: skip
    assert rest.endswith(f"| train_loss | {result.metrics['train_loss']:.4f} |\n")


CARD_HEAD = """---
base_model: me/teacher
language: en
library_name: zoo
license: mit
pipeline_tag: fill-mask
tags:
- zoo
- bert
- distillation
base_model_relation: finetune
---

# student

This is a `bert` model with 7,029 parameters for `fill-mask`. It was distilled from TEACHER.

## Use

```python
import zoo

model = zoo.load("me/student")
```

"""
CARD_TAUGHT = (
    "9 examples. The teacher is a `bert` model with 20,469 parameters. The loss is the sum of: 5 times the divergence from the "
    "teacher's probabilities at temperature 3 (Hinton et al. 2015); 2 times the task's own loss; 0.5 times one minus the "
    "cosine of both models' last hidden states (Sanh et al. 2019). Of the student 26 of 26 parameters started as the teacher's."
)
