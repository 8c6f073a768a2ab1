"""ELECTRA and ALBERT against transformers: the same numbers from the same checkpoint, and the same checkpoint back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

import zoo
from tests.checkpoints import (
    LABELS,
    SIZES,
    assert_same_bytes,
    change_config,
    label_keys,
    read_config,
    read_tensors,
    write_tensors,
)
from zoo.errors import InvalidConfig, UnknownConfigKey, WeightsMismatch

NAMES = ("electra", "albert")
SIDES = ("none", "right", "left")
WIDTH = {"embedding_size": 12}  # the hidden states are 24 wide
TIME = 11  # longer than every row where there is padding

# A head's class, without the architecture's name, and its task.
TASKS = {
    "Model": "feature-extraction",
    "ForMaskedLM": "fill-mask",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, change) for name in NAMES for change in (
        {"embedding_size": 24},
        {"embedding_size": 30},
        {"layer_norm_eps": 0.1},
        {"type_vocab_size": 1},
        {"num_attention_heads": 3},
        {"hidden_act": "gelu"},
        {"hidden_act": "gelu_new"},
        {"hidden_act": "relu"},
        {"hidden_act": "silu"},
        {"hidden_dropout_prob": 0.25, "attention_probs_dropout_prob": 0.125},
        {"initializer_range": 0.3, "pad_token_id": 7},
    )),
    ("electra", {"num_hidden_layers": 5}),
    ("electra", {"summary_type": "mean", "summary_use_proj": False, "summary_last_dropout": 0.5}),
    ("albert", {"inner_group_num": 2}),
    ("albert", {"num_hidden_layers": 4, "num_hidden_groups": 2}),
    ("albert", {"num_hidden_layers": 5, "num_hidden_groups": 2}),
    ("albert", {"num_hidden_layers": 7, "num_hidden_groups": 3, "inner_group_num": 2}),
    ("albert", {"num_hidden_layers": 2, "num_hidden_groups": 3}),
]  # fmt: skip


def make_oracle(name: str, head: str, **changes: Any) -> nn.Module:
    """Give transformers' model with every parameter drawn at random, biases and norms too."""
    classes = {"electra": "Electra", "albert": "Albert"}
    options = {"add_pooling_layer": changes.pop("pooler")} if "pooler" in changes else {}
    config = getattr(transformers, f"{classes[name]}Config")(**{**SIZES, **WIDTH, **changes})
    oracle: nn.Module = getattr(transformers, classes[name] + head)(config, **options)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for key, parameter in oracle.named_parameters():
            centre = 1.0 if key.endswith(("LayerNorm.weight", "layer_norm.weight")) else 0.0
            scale = parameter.shape[1] ** -0.5 if parameter.dim() == 2 and "embeddings." not in key else 0.3
            parameter.copy_(centre + scale * torch.randn(parameter.shape, generator=generator))
    return oracle.eval()


def write(folder: Path, name: str, head: str, **changes: Any) -> Any:
    """Let transformers save a checkpoint, and give the model it saved."""
    oracle = make_oracle(name, head, **changes)
    oracle.save_pretrained(folder)  # type: ignore[operator]
    return oracle


@dataclass(frozen=True)
class Batch:
    """Three rows of random tokens. positions: what transformers has to be told; rows: where each row's tokens stand."""

    ids: Tensor
    types: Tensor
    mask: Tensor
    positions: Tensor
    rows: tuple[slice, ...]

    def inputs(self) -> dict[str, Tensor]:
        return {"input_ids": self.ids, "attention_mask": self.mask, "token_type_ids": self.types}


def make_batch(side: str, types: int = 3) -> Batch:
    lengths = (TIME, TIME, TIME) if side == "none" else (9, 5, 7)
    generator = torch.Generator().manual_seed(5)
    ids, kinds, mask, positions = (torch.zeros(3, TIME, dtype=torch.int64) for _ in range(4))
    rows = tuple(slice(TIME - length, TIME) if side == "left" else slice(0, length) for length in lengths)
    for row, place in enumerate(rows):
        length = place.stop - place.start
        ids[row, place] = torch.randint(1, SIZES["vocab_size"], (TIME,), generator=generator)[:length]
        kinds[row, place] = torch.randint(0, types, (TIME,), generator=generator)[:length]
        mask[row, place] = 1
        positions[row, place] = torch.arange(length)
    return Batch(ids, kinds, mask, positions, rows)


def ask(oracle: Any, batch: Batch, **labels: Tensor) -> Any:
    with torch.no_grad():
        return oracle(**batch.inputs(), position_ids=batch.positions, **labels)


def ask_zoo(folder: Path, batch: Batch, labels: Tensor | None = None) -> Any:
    with torch.no_grad():
        return zoo.load(str(folder))(**batch.inputs(), labels=labels)


def unpadded(oracle: Any, batch: Batch, output: str) -> Tensor:
    """transformers pools at index 0, so its pooled answers count row by row, each without padding."""
    with torch.no_grad():
        return torch.cat(
            [
                oracle(batch.ids[row : row + 1, place], token_type_ids=batch.types[row : row + 1, place])[output]
                for row, place in enumerate(batch.rows)
            ]
        )


def close(found: Tensor, expected: Tensor, mask: Tensor | None = None) -> None:
    """Compare elementwise, everywhere or where a token is attended to."""
    assert found.shape == expected.shape
    where = ... if mask is None else mask.bool()
    torch.testing.assert_close(found[where], expected[where], atol=1e-5, rtol=0)


def reload(folder: Path, class_name: str, **options: Any) -> Any:
    """Let transformers load a folder: every tensor used, none missing."""
    model, report = getattr(transformers, class_name).from_pretrained(folder, output_loading_info=True, **options)
    assert {key: set(names) for key, names in report.items() if names} == {}
    return model.eval()


def class_of(oracle: nn.Module) -> str:
    return type(oracle).__name__


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("name", "pooler"), [("electra", None), ("albert", True), ("albert", False)])
def test_the_backbone_agrees(tmp_path: Path, name: str, pooler: bool | None, side: str) -> None:
    oracle = write(tmp_path, name, "Model", **({} if pooler is None else {"pooler": pooler}))
    batch = make_batch(side)
    found = ask_zoo(tmp_path, batch)
    close(found.last_hidden_state, ask(oracle, batch).last_hidden_state, batch.mask)
    if pooler:
        close(found.pooler_output, unpadded(oracle, batch, "pooler_output"))
    else:
        assert found.pooler_output is None


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_the_masked_language_model_agrees(tmp_path: Path, name: str, tied: bool, side: str) -> None:
    oracle, batch = write(tmp_path, name, "ForMaskedLM", tie_word_embeddings=tied), make_batch(side)
    labels = batch.ids.masked_fill(batch.positions % 2 == 0, -100)
    expected, found = ask(oracle, batch, labels=labels), ask_zoo(tmp_path, batch, labels)
    assert found.logits.shape == (3, TIME, 53)
    close(found.logits, expected.logits, batch.mask)
    close(found.loss, expected.loss)


@pytest.mark.parametrize("side", SIDES)
def test_the_pretraining_model_of_albert_agrees_on_masked_tokens(tmp_path: Path, side: str) -> None:
    oracle, batch = write(tmp_path, "albert", "ForPreTraining"), make_batch(side)
    close(ask_zoo(tmp_path, batch).logits, ask(oracle, batch).prediction_logits, batch.mask)


@pytest.mark.parametrize("side", SIDES)
def test_the_discriminator_of_electra_is_loaded_as_its_backbone(tmp_path: Path, side: str) -> None:
    oracle, batch = write(tmp_path, "electra", "ForPreTraining"), make_batch(side)
    found = ask_zoo(tmp_path, batch)
    close(found.last_hidden_state, ask(oracle.electra, batch).last_hidden_state, batch.mask)
    assert found.logits is None


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        (label_keys(), torch.tensor([4, 0, 2])),
        (
            label_keys() | {"problem_type": "multi_label_classification"},
            torch.tensor([[0.0, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 0, 0, 1, 0]]),
        ),
        ({"num_labels": 1}, torch.tensor([0.5, -1.25, 3.0])),
    ],
    ids=["single label", "several labels", "regression"],
)
@pytest.mark.parametrize("name", NAMES)
def test_the_text_classifier_agrees(
    tmp_path: Path, name: str, settings: dict[str, Any], labels: Tensor, side: str
) -> None:
    oracle, batch = write(tmp_path, name, "ForSequenceClassification", **settings), make_batch(side)
    found = ask_zoo(tmp_path, batch, labels)
    close(found.logits, unpadded(oracle, batch, "logits"))
    right = make_batch("none" if side == "none" else "right")  # the same rows, where transformers pools
    close(found.loss, ask(oracle, right, labels=labels).loss)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", NAMES)
def test_the_token_classifier_agrees(tmp_path: Path, name: str, side: str) -> None:
    oracle, batch = write(tmp_path, name, "ForTokenClassification", **label_keys()), make_batch(side)
    labels = (batch.positions % 5).masked_fill(batch.mask == 0, -100)
    expected, found = ask(oracle, batch, labels=labels), ask_zoo(tmp_path, batch, labels)
    assert found.logits.shape == (3, TIME, 5)
    close(found.logits, expected.logits, batch.mask)
    close(found.loss, expected.loss)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", NAMES)
def test_the_span_classifier_agrees(tmp_path: Path, name: str, side: str) -> None:
    oracle, batch = write(tmp_path, name, "ForQuestionAnswering"), make_batch(side)
    spans = torch.tensor([[place.start + 1, place.stop - 1] for place in batch.rows])
    found, expected = ask_zoo(tmp_path, batch, spans), ask(oracle, batch)
    close(found.start_logits, expected.start_logits, batch.mask)
    close(found.end_logits, expected.end_logits, batch.mask)
    if side == "none":  # the loss counts padding too
        close(found.loss, ask(oracle, batch, start_positions=spans[:, 0], end_positions=spans[:, 1]).loss)


@pytest.mark.parametrize(("name", "changes"), VARIANTS, ids=str)
def test_every_setting_agrees_and_is_written_back(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    oracle = write(source, name, "ForMaskedLM", **changes)
    batch = make_batch("right", oracle.config.type_vocab_size)
    close(ask_zoo(source, batch).logits, ask(oracle, batch).logits, batch.mask)
    zoo.load(str(source)).save(target)
    assert_same_bytes(read_tensors(target), read_tensors(source))
    assert read_config(target) == read_config(source)


@pytest.mark.parametrize(
    ("name", "head", "changes"),
    [
        *((name, head, {}) for name in NAMES for head in (*TASKS, "ForPreTraining") if head != "ForMaskedLM"),
        *((name, "ForMaskedLM", {"tie_word_embeddings": tied}) for name in NAMES for tied in (True, False)),
        ("albert", "Model", {"pooler": False}),
    ],
    ids=str,
)
def test_load_and_save_gives_back_every_byte_for_transformers(
    tmp_path: Path, name: str, head: str, changes: dict[str, Any]
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    oracle = write(source, name, head, **changes)
    model = zoo.load(str(source))
    model.save(target)
    assert model.fresh_parameters == ()
    assert_same_bytes(read_tensors(target), read_tensors(source))
    assert read_config(target) == read_config(source)
    again = reload(target, class_of(oracle), **({"add_pooling_layer": False} if "pooler" in changes else {}))
    assert_same_bytes(dict(again.state_dict()), dict(oracle.state_dict()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_dtype_stays(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    make_oracle(name, "ForMaskedLM").to(dtype).save_pretrained(source)  # type: ignore[operator]
    zoo.load(str(source)).save(target)
    assert {tensor.dtype for tensor in read_tensors(target).values()} == {dtype}
    assert_same_bytes(read_tensors(target), read_tensors(source))


@pytest.mark.parametrize(
    ("name", "head", "kept"),
    [
        ("electra", "ForPreTraining", ["electra.embeddings.position_ids"]),
        ("electra", "ForTokenClassification", ["electra.embeddings.position_ids"]),
        ("albert", "ForMaskedLM", ["albert.pooler.weight", "albert.pooler.bias", "albert.embeddings.position_ids"]),
        ("albert", "ForTokenClassification", ["albert.pooler.weight", "albert.pooler.bias"]),
        ("albert", "ForQuestionAnswering", ["albert.pooler.weight", "albert.pooler.bias"]),
    ],
    ids=str,
)
def test_what_older_checkpoints_carry_besides_is_written_back(
    tmp_path: Path, name: str, head: str, kept: list[str]
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write(source, name, head)
    shapes = {"position_ids": (1, 19), "weight": (24, 24), "bias": (24,)}
    write_tensors(source, read_tensors(source) | {key: torch.randn(shapes[key.rpartition(".")[2]]) for key in kept})
    zoo.load(str(source)).save(target)
    assert_same_bytes(read_tensors(target), read_tensors(source))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("architectures", [None, ["Another"]])
def test_a_pretraining_checkpoint_that_claims_no_known_head_is_a_backbone(
    tmp_path: Path, name: str, architectures: list[str] | None
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    oracle, batch = write(source, name, "ForPreTraining"), make_batch("right")
    change_config(source, ["architectures"], **({} if architectures is None else {"architectures": architectures}))
    found = ask_zoo(source, batch)
    close(found.last_hidden_state, ask(getattr(oracle, name), batch).last_hidden_state, batch.mask)
    zoo.load(str(source)).save(target)
    again = reload(target, class_of(oracle).replace("ForPreTraining", "Model"))
    assert_same_bytes(dict(again.state_dict()), dict(getattr(oracle, name).state_dict()))


def test_a_projection_that_the_widths_make_needless_is_kept_and_left_behind_by_a_new_head(tmp_path: Path) -> None:
    source, same, new = tmp_path / "source", tmp_path / "same", tmp_path / "new"
    oracle, batch = write(source, "electra", "ForPreTraining", embedding_size=24), make_batch("right")
    names = ("electra.embeddings_project.weight", "electra.embeddings_project.bias")
    write_tensors(source, read_tensors(source) | {names[0]: torch.randn(24, 24), names[1]: torch.randn(24)})
    found = ask_zoo(source, batch)
    close(found.last_hidden_state, ask(oracle.electra, batch).last_hidden_state, batch.mask)
    zoo.load(str(source)).save(same)
    assert_same_bytes(read_tensors(same), read_tensors(source))
    zoo.load(str(source), "token-classification", labels=LABELS).save(new)
    reload(new, "ElectraForTokenClassification")


def test_a_projection_that_the_widths_need_may_not_be_missing(tmp_path: Path) -> None:
    write(tmp_path, "electra", "Model")
    tensors = read_tensors(tmp_path)
    write_tensors(tmp_path, {key: tensor for key, tensor in tensors.items() if "project" not in key})
    with pytest.raises(WeightsMismatch) as refused:
        zoo.load(str(tmp_path))
    assert str(refused.value) == (
        "The checkpoint's tensors do not fit the architecture 'electra'; nothing was loaded.\n"
        "missing (2):\n  embeddings_project: weight, bias\n"
        "Check that config.json belongs to these weights, or fetch them again with: zoo rm, then zoo pull"
    )


@pytest.mark.parametrize("pooler", [True, False])
def test_a_backbone_that_carries_the_prefix_keeps_it(tmp_path: Path, pooler: bool) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write(source, "albert", "Model", pooler=pooler)
    write_tensors(source, {f"albert.{key}": tensor for key, tensor in read_tensors(source).items()})
    zoo.load(str(source)).save(target)
    assert_same_bytes(read_tensors(target), read_tensors(source))
    reload(target, "AlbertModel", add_pooling_layer=pooler)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("head", TASKS)
def test_a_model_built_from_a_spec_is_one_for_transformers(tmp_path: Path, name: str, head: str) -> None:
    labels = LABELS if head in ("ForSequenceClassification", "ForTokenClassification") else None
    model = zoo.build(zoo.make_spec(name, **SIZES, **WIDTH), TASKS[head], labels=labels, seed=3)
    model.save(tmp_path)
    class_name = class_of(make_oracle(name, head))
    assert read_config(tmp_path)["architectures"] == [class_name]
    batch = make_batch("none")
    expected = ask(reload(tmp_path, class_name), batch)
    with torch.no_grad():
        found = model(**batch.inputs())
    for key, tensor in expected.items():
        close(getattr(found, key), tensor)
    assert zoo.load(str(tmp_path)).task == TASKS[head]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("head", ["ForSequenceClassification", "ForTokenClassification"])
def test_a_pretraining_checkpoint_gets_a_new_head(tmp_path: Path, name: str, head: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    oracle = write(source, name, "ForPreTraining")
    model = zoo.load(str(source), TASKS[head], labels=LABELS)
    assert all(parameter.startswith("head.") for parameter in model.fresh_parameters)
    assert ("head.pooler.dense.weight" in model.fresh_parameters) == (
        (name, head) == ("electra", "ForSequenceClassification")  # ALBERT's was pretrained
    )
    model.save(target)
    again = reload(target, class_of(oracle).replace("ForPreTraining", head))
    batch = make_batch("none")
    with torch.no_grad():
        close(model(**batch.inputs()).logits, ask(again, batch).logits)


@pytest.mark.parametrize("name", NAMES)
def test_a_tied_head_is_one_parameter(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "ForMaskedLM")
    head, backbone = (model := zoo.load(str(tmp_path))).head, model.backbone
    assert head is not None
    assert head.get_parameter("decoder.weight") is backbone.get_parameter("embeddings.tokens.weight")
    assert [key for key, _ in head.named_parameters()] == {
        "electra": ["dense.weight", "dense.bias", "norm.weight", "norm.bias", "decoder.weight", "decoder.bias"],
        "albert": ["bias", "dense.weight", "dense.bias", "norm.weight", "norm.bias", "decoder.weight"],
    }[name]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("inner", [1, 2])
def test_layers_of_a_group_are_one_set_of_parameters(groups: int, inner: int) -> None:
    spec = zoo.make_spec("albert", **dict(SIZES) | WIDTH | {"num_hidden_layers": 6}, num_hidden_groups=groups,
                         inner_group_num=inner)  # fmt: skip
    queries = [key for key, _ in zoo.build(spec).named_parameters() if key.endswith("query.weight")]
    assert queries == [
        f"backbone.layers.{group}.{layer}.attention.query.weight" for group in range(groups) for layer in range(inner)
    ]


def test_attention_of_shared_layers_is_recorded_each_time_they_run(tmp_path: Path) -> None:
    from zoo.layers.attention import recorded_attention

    oracle = write(tmp_path, "albert", "Model", num_hidden_layers=5, num_hidden_groups=2, inner_group_num=2)
    oracle.set_attn_implementation("eager")
    batch = make_batch("none")
    with torch.no_grad():
        expected = oracle(**batch.inputs(), output_attentions=True).attentions
        with recorded_attention((model := zoo.load(str(tmp_path))).backbone) as recorded:
            model(**batch.inputs())
    assert len(recorded) == len(expected) == 10
    for found, weights in zip(recorded, expected, strict=True):
        close(found, weights)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("head", TASKS)
def test_a_gradient_reaches_every_parameter(tmp_path: Path, name: str, head: str) -> None:
    changes = {"num_hidden_groups": 2, "inner_group_num": 2} if name == "albert" else {}
    write(tmp_path, name, head, **changes, **label_keys() if "ForS" in head or "ForT" in head else {})
    model, batch = zoo.load(str(tmp_path)), make_batch("left")
    output = model(**batch.inputs())
    answers = [value for value in vars(output).values() if value is not None]
    sum((answer * torch.randn(answer.shape)).sum() for answer in answers).backward()
    without = [key for key, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert without == [] or all(key.endswith("attention.key.bias") for key in without)  # softmax takes it away again


@pytest.mark.parametrize("name", NAMES)
def test_gradients_agree(tmp_path: Path, name: str) -> None:
    changes = {"num_hidden_layers": 5, "num_hidden_groups": 2} if name == "albert" else {}
    oracle, batch = write(tmp_path, name, "ForMaskedLM", **changes), make_batch("right")
    labels = batch.ids.masked_fill(batch.mask == 0, -100)
    oracle(**batch.inputs(), labels=labels).loss.backward()
    model = zoo.load(str(tmp_path))
    model(**batch.inputs(), labels=labels).loss.backward()
    here, there = {
        "electra": ("layers.1.attention.value", "electra.encoder.layer.1.attention.self.value"),
        "albert": (
            "layers.1.0.attention.value",
            "albert.encoder.albert_layer_groups.1.albert_layers.0.attention.value",
        ),
    }[name]
    close(gradient(model.backbone, f"{here}.weight"), gradient(oracle, f"{there}.weight"))
    expected = gradient(oracle, f"{name}.embeddings.word_embeddings.weight")
    close(gradient(model.backbone, "embeddings.tokens.weight")[1:], expected[1:])  # 0 is padding there


def gradient(module: nn.Module, name: str) -> Tensor:
    found = module.get_parameter(name).grad
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("electra", {"classifier_dropout": 0.4}, [0.4, 0.4]),
        ("electra", {"classifier_dropout": 0.0}, [0.0, 0.0]),
        ("electra", {"classifier_dropout": None, "hidden_dropout_prob": 0.25}, [0.25, 0.25]),
        ("albert", {"classifier_dropout_prob": 0.4}, [0.0, 0.4]),
        ("albert", {}, [0.0, 0.1]),
    ],
    ids=str,
)
def test_dropout_around_the_pooler_is_the_configs(
    tmp_path: Path, name: str, changes: dict[str, Any], expected: list[float]
) -> None:
    write(tmp_path, name, "ForSequenceClassification", **changes)
    head = zoo.load(str(tmp_path)).head
    assert head is not None
    assert [module.p for module in head.modules() if isinstance(module, nn.Dropout)] == expected
    zoo.load(str(tmp_path), "token-classification", labels=LABELS)


@pytest.mark.parametrize(
    ("name", "sizes", "expected"),
    [
        ("electra", {}, (768, 768, 12, 3072)),
        ("electra", {"hidden_size": 256}, (128, 256, 4, 1024)),
        ("electra", {"hidden_size": 1024}, (1024, 1024, 16, 4096)),
        ("electra", {"hidden_size": 256, "embedding_size": 99}, (99, 256, 4, 1024)),
        ("electra", {"hidden_size": 1}, (1, 1, 1, 4)),
        ("albert", {}, (128, 768, 12, 3072)),
        ("albert", {"hidden_size": 4096}, (128, 4096, 64, 16384)),
    ],
    ids=str,
)
def test_a_spec_is_filled_in_by_the_papers_proportions(
    name: str, sizes: dict[str, int], expected: tuple[int, ...]
) -> None:
    spec: Any = zoo.make_spec(name, **sizes)
    assert (spec.embedding_size, spec.hidden_size, spec.num_attention_heads, spec.intermediate_size) == expected


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("electra", {"summary_type": "first", "summary_use_proj": "true", "generator_size": "0.25"}),
        ("albert", {"down_scale_factor": 1, "gap_size": 0, "net_structure_type": 0, "num_memory_blocks": 0}),
        ("albert", {"layers_to_keep": [], "eos_token_ids": None, "pooler_type": "first_token_transform"}),
    ],
    ids=str,
)
def test_keys_of_published_configs_are_accounted_for(tmp_path: Path, name: str, extra: dict[str, Any]) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write(source, name, "ForMaskedLM")
    change_config(source, **extra)
    zoo.load(str(source)).save(target)
    assert read_config(target) == read_config(source)


@pytest.mark.parametrize(
    ("name", "key", "value", "problem"),
    [
        ("electra", "embedding_size", 0, "is 0; Input should be greater than or equal to 1"),
        ("electra", "position_embedding_type", "relative_key", "is 'relative_key'; Input should be 'absolute'"),
        ("electra", "is_decoder", True, "is True; Input should be False"),
        ("albert", "position_embedding_type", "rotary", "is 'rotary'; Input should be 'absolute'"),
        ("albert", "num_hidden_groups", 0, "is 0; Input should be greater than or equal to 1"),
        ("albert", "inner_group_num", 1.5, "is 1.5; Input should be a valid integer"),
        ("albert", "gap_size", 1, "is 1; Input should be 0"),
        ("albert", "net_structure_type", 2, "is 2; Input should be 0"),
        ("albert", "num_memory_blocks", 1, "is 1; Input should be 0"),
        ("albert", "down_scale_factor", 2, "is 2; Input should be 1"),
        ("albert", "layers_to_keep", [1], "is [1]; List should have at most 0 items after validation, not 1"),
        ("albert", "num_attention_heads", 5, "hidden_size 24 is not a multiple of num_attention_heads 5"),
    ],
)
def test_a_setting_that_is_not_implemented_is_refused(
    tmp_path: Path, name: str, key: str, value: Any, problem: str
) -> None:
    write(tmp_path, name, "Model")
    change_config(tmp_path, **{key: value})
    with pytest.raises(InvalidConfig) as refused:
        zoo.load(str(tmp_path))
    named = "settings" if problem.startswith("hidden_size") else key
    assert str(refused.value) == (
        f"The settings do not describe a '{name}' that this version of Zoo implements:\n  {named}: {problem}\n"
        f"See what it accepts with: zoo arch show {name}"
    )


@pytest.mark.parametrize(("name", "key"), [("electra", "embedding_size"), ("electra", "hidden_size"),
                                           ("albert", "hidden_size")])  # fmt: skip
def test_a_size_that_differs_between_checkpoints_has_no_default(tmp_path: Path, name: str, key: str) -> None:
    write(tmp_path, name, "Model")
    change_config(tmp_path, [key])
    with pytest.raises(InvalidConfig) as refused:
        zoo.load(str(tmp_path))
    assert str(refused.value) == (
        f"The settings do not describe a '{name}' that this version of Zoo implements:\n  {key}: is missing\n"
        f"See what it accepts with: zoo arch show {name}"
    )


@pytest.mark.parametrize(("name", "key"), [("electra", "net_structure_type"), ("albert", "hidden_act_gated")])
def test_a_key_that_nobody_reads_is_refused(tmp_path: Path, name: str, key: str) -> None:
    write(tmp_path, name, "Model")
    change_config(tmp_path, [], **{key: 0})
    with pytest.raises(UnknownConfigKey) as refused:
        zoo.load(str(tmp_path))
    assert str(refused.value) == (
        f"config.json has the key {key}, which the architecture '{name}' does not know; a setting that nobody reads "
        f'could change the numbers. If it is known to be harmless, accept it with ignore_config_keys=["{key}"] '
        f"(on the command line: --ignore-config-key {key})"
    )
