"""Distillation: the three losses against others' computations, the student's start, and what becomes of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import zoo
from tests.checkpoints import assert_same_bytes, read_tensors, write_checkpoint, write_tokenizer
from tests.training.samples import make_dropless, make_model
from zoo.errors import InvalidInput
from zoo.tasks import get_task
from zoo.tasks.base import Output
from zoo.tokenization import load_tokenizer
from zoo.training.distillation import Distillation, make_student, soft_loss, state_loss

TEXTS = ["the cat sat where the dog sat .", "anna went home to berlin and paris .", "who was very good ?"] * 3
DATA = [{"text": text} for text in TEXTS]
STUDENT = {"model_type": "distilbert", "dropout": 0.0, "attention_dropout": 0.0}


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
    found = soft_loss(student, taught, torch.ones(3, 7, dtype=torch.bool), 2.0)
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


def test_a_teacher_without_probabilities_is_refused() -> None:
    for task, named in (
        ("feature-extraction", "'feature-extraction'"),
        ("question-answering", "'question-answering'"),
    ):
        with pytest.raises(InvalidInput) as refusal:
            zoo.distill(make_model(task), {}, DATA)
        assert str(refusal.value) == (
            f"The teacher is made for {named}, whose answers are not one probability for each label or token; distil one "
            "for fill-mask, text-generation or a classification with single labels"
        )
