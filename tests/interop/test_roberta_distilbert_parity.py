"""RoBERTa, CamemBERT, XLM-RoBERTa and DistilBERT against transformers: same checkpoint, same numbers, same bytes."""

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
    assert_same_bytes,
    change_config,
    label_keys,
    read_config,
    read_tensors,
    write_tensors,
)
from zoo.architecture import Architecture
from zoo.errors import InvalidConfig, InvalidInput, UnknownConfigKey
from zoo.hub.catalogue import list_checkpoints
from zoo.layers.attention import recorded_attention
from zoo.loading import assemble
from zoo.tasks.base import HeadSettings

ROBERTA_SIZES: dict[str, Any] = {
    "vocab_size": 53,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 21,  # the first two are for padding
    "type_vocab_size": 5,
    "layer_norm_eps": 1e-5,
}
DISTILBERT_SIZES: dict[str, Any] = {
    "vocab_size": 53,
    "dim": 24,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 40,
    "max_position_embeddings": 19,
}


@dataclass(frozen=True)
class Family:
    """An architecture under one of its names. classes: what transformers' class names begin with."""

    name: str
    classes: str
    config: type
    sizes: dict[str, Any]

    def class_name(self, task: str) -> str:
        return self.classes + SUFFIXES[task]


SUFFIXES = {
    "feature-extraction": "Model",
    "fill-mask": "ForMaskedLM",
    "text-classification": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
    "question-answering": "ForQuestionAnswering",
}
FIELDS = {"feature-extraction": ["last_hidden_state"], "question-answering": ["start_logits", "end_logits"]}
FAMILIES = {
    family.name: family
    for family in (
        Family("roberta", "Roberta", transformers.RobertaConfig, ROBERTA_SIZES),
        Family("camembert", "Camembert", transformers.CamembertConfig, ROBERTA_SIZES),
        Family("xlm-roberta", "XLMRoberta", transformers.XLMRobertaConfig, ROBERTA_SIZES),
        Family("distilbert", "DistilBert", transformers.DistilBertConfig, DISTILBERT_SIZES),
    )
}
ROBERTAS = ("roberta", "camembert", "xlm-roberta")
SIDES = ("none", "right", "left")
every_family = pytest.mark.parametrize("name", FAMILIES)
every_side = pytest.mark.parametrize("side", SIDES)


def make_oracle(name: str, task: str, **changes: Any) -> nn.Module:
    """Give transformers' model with every parameter drawn at random; with sinusoids, all but these."""
    family = FAMILIES[name]
    pooler = {"add_pooling_layer": changes.pop("pooler")} if "pooler" in changes else {}
    config = family.config(**{**family.sizes, **changes})
    oracle: nn.Module = getattr(transformers, family.class_name(task))(config, **pooler)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter_name, parameter in oracle.named_parameters():
            if "position" in parameter_name and changes.get("sinusoidal_pos_embds"):
                continue
            centre = 1.0 if parameter_name.lower().endswith(("layernorm.weight", "layer_norm.weight")) else 0.0
            scale = parameter.shape[1] ** -0.5 if parameter.dim() == 2 and "embeddings" not in parameter_name else 0.3
            parameter.copy_(centre + scale * torch.randn(parameter.shape, generator=generator))
    return oracle.eval()


def write_checkpoint(folder: Path, name: str, task: str = "feature-extraction", **changes: Any) -> nn.Module:
    oracle = make_oracle(name, task, **changes)
    oracle.save_pretrained(folder)
    return oracle


@dataclass(frozen=True)
class Batch:
    """Rows of random tokens. rows: where each row's tokens stand; types: None where the family has none."""

    ids: Tensor
    mask: Tensor
    types: Tensor | None
    positions: Tensor
    rows: tuple[slice, ...]

    def inputs(self, row: int | None = None) -> dict[str, Tensor]:
        """What a model takes: all rows, or the tokens of one without its padding."""
        types = {} if self.types is None else {"token_type_ids": self.types}
        named = {"input_ids": self.ids, "attention_mask": self.mask} | types
        return named if row is None else {key: value[[row], self.rows[row]] for key, value in named.items()}

    def put(self, values: list[int]) -> Tensor:
        """Spread values over the places of each row's tokens; -100 elsewhere."""
        spread = torch.full(self.ids.shape, -100)
        for row, place in enumerate(self.rows):
            spread[row, place] = torch.tensor(values[: place.stop - place.start])
        return spread


def make_batch(name: str, side: str, pad: int = 1, types: int = 5, lengths: tuple[int, ...] = (9, 5, 7)) -> Batch:
    """Three rows, padded to 11 unless the side is `none`; no token has the id of padding."""
    lengths, time = (lengths, 11) if side != "none" else ((max(lengths),) * 3, max(lengths))
    generator = torch.Generator().manual_seed(5)
    ids, mask = torch.full((3, time), pad), torch.zeros(3, time, dtype=torch.int64)
    kinds, positions = torch.zeros_like(ids), torch.zeros_like(ids)
    rows = []
    for row, length in enumerate(lengths):
        place = slice(time - length, time) if side == "left" else slice(0, length)
        ids[row, place] = torch.randint(6, 53, (length,), generator=generator)
        kinds[row, place] = torch.randint(0, types, (length,), generator=generator)
        mask[row, place] = 1
        positions[row, place] = torch.arange(length)
        rows.append(place)
    return Batch(ids, mask, None if name == "distilbert" else kinds, positions, tuple(rows))


def ask(oracle: nn.Module, batch: Batch, **labels: Tensor) -> Any:
    """RoBERTa numbers positions around padding by itself; DistilBERT has to be told."""
    told = {"position_ids": batch.positions} if batch.types is None else {}
    with torch.no_grad():
        return oracle(**batch.inputs(), **told, **labels)


def ask_row_by_row(oracle: nn.Module, batch: Batch, field: str) -> Tensor:
    """transformers pools at index 0, so its pooled answers count without padding."""
    with torch.no_grad():
        return torch.cat([oracle(**batch.inputs(row))[field] for row in range(len(batch.rows))])


def ask_zoo(folder: Path, batch: Batch, labels: Tensor | None = None) -> Any:
    with torch.no_grad():
        return zoo.load(str(folder))(**batch.inputs(), labels=labels)


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


@every_family
@every_side
def test_the_backbone_agrees(tmp_path: Path, name: str, side: str) -> None:
    oracle, batch = write_checkpoint(tmp_path, name), make_batch(name, side)
    found = ask_zoo(tmp_path, batch)
    close(found.last_hidden_state, ask(oracle, batch).last_hidden_state, batch.mask)
    if name == "distilbert":
        assert found.pooler_output is None
    else:
        close(found.pooler_output, ask_row_by_row(oracle, batch, "pooler_output"))


@pytest.mark.parametrize("name", ROBERTAS)
@every_side
def test_the_backbone_without_a_pooler_agrees(tmp_path: Path, name: str, side: str) -> None:
    oracle, batch = write_checkpoint(tmp_path, name, pooler=False), make_batch(name, side)
    found = ask_zoo(tmp_path, batch)
    close(found.last_hidden_state, ask(oracle, batch).last_hidden_state, batch.mask)
    assert found.pooler_output is None


@every_family
@every_side
@pytest.mark.parametrize("tied", [True, False])
def test_the_masked_language_model_agrees(tmp_path: Path, name: str, side: str, tied: bool) -> None:
    oracle, batch = write_checkpoint(tmp_path, name, "fill-mask", tie_word_embeddings=tied), make_batch(name, side)
    labels = batch.put([-100, 7, -100, 31, 52, 1, 2, 3, 4])
    expected, found = ask(oracle, batch, labels=labels), ask_zoo(tmp_path, batch, labels)
    assert found.logits.shape == (3, batch.ids.shape[1], 53)
    close(found.logits, expected.logits, batch.mask)
    close(found.loss, expected.loss)


@every_family
@every_side
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
def test_the_text_classifier_agrees(
    tmp_path: Path, name: str, side: str, settings: dict[str, Any], labels: Tensor
) -> None:
    oracle = write_checkpoint(tmp_path, name, "text-classification", **settings)
    batch = make_batch(name, side)
    found = ask_zoo(tmp_path, batch, labels)
    close(found.logits, ask_row_by_row(oracle, batch, "logits"))
    close(found.loss, ask(oracle, make_batch(name, "none" if side == "none" else "right"), labels=labels).loss)


@every_family
@every_side
def test_the_token_classifier_agrees(tmp_path: Path, name: str, side: str) -> None:
    oracle, batch = write_checkpoint(tmp_path, name, "token-classification", **label_keys()), make_batch(name, side)
    labels = batch.put([-100, 4, 3, -100, 0, 1, 2, 3, 4])
    expected, found = ask(oracle, batch, labels=labels), ask_zoo(tmp_path, batch, labels)
    assert found.logits.shape == (3, batch.ids.shape[1], 5)
    close(found.logits, expected.logits, batch.mask)
    close(found.loss, expected.loss)


@every_family
@every_side
def test_the_span_classifier_agrees(tmp_path: Path, name: str, side: str) -> None:
    oracle, batch = write_checkpoint(tmp_path, name, "question-answering"), make_batch(name, side)
    starts = torch.tensor([place.start + 1 for place in batch.rows])
    ends = torch.tensor([place.stop - 1 for place in batch.rows])
    expected, found = ask(oracle, batch), ask_zoo(tmp_path, batch, torch.stack([starts, ends], -1))
    close(found.start_logits, expected.start_logits, batch.mask)
    close(found.end_logits, expected.end_logits, batch.mask)
    if side == "none":  # the loss counts padding too, whose position is nobody's business
        close(found.loss, ask(oracle, batch, start_positions=starts, end_positions=ends).loss)


@every_family
def test_without_mask_and_types_everything_is_attended_and_of_type_zero(tmp_path: Path, name: str) -> None:
    oracle, batch = write_checkpoint(tmp_path, name), make_batch(name, "none")
    with torch.no_grad():
        found, expected = zoo.load(str(tmp_path))(batch.ids), oracle(batch.ids)
    close(found.last_hidden_state, expected.last_hidden_state)


def test_distilbert_has_no_types_and_reads_none(tmp_path: Path) -> None:
    oracle, batch = write_checkpoint(tmp_path, "distilbert"), make_batch("distilbert", "right")
    with torch.no_grad():
        found = zoo.load(str(tmp_path))(batch.ids, batch.mask, token_type_ids=torch.full_like(batch.ids, 99))
    close(found.last_hidden_state, ask(oracle, batch).last_hidden_state, batch.mask)


@every_family
@pytest.mark.parametrize("activation", ["gelu_new", "relu", "silu", "tanh"])
def test_every_activation_agrees_in_layers_and_head(tmp_path: Path, name: str, activation: str) -> None:
    key = "activation" if name == "distilbert" else "hidden_act"  # the head of RoBERTa stays with gelu
    oracle, batch = write_checkpoint(tmp_path, name, "fill-mask", **{key: activation}), make_batch(name, "right")
    close(ask_zoo(tmp_path, batch).logits, ask(oracle, batch).logits, batch.mask)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("distilbert", {"n_heads": 3}),
        ("distilbert", {"n_layers": 11}),
        ("distilbert", {"sinusoidal_pos_embds": True}),
        ("distilbert", {"dropout": 0.0, "attention_dropout": 0.0, "qa_dropout": 0.0, "seq_classif_dropout": 0.0}),
        ("roberta", {"num_attention_heads": 3}),
        ("camembert", {"num_hidden_layers": 11}),
        ("xlm-roberta", {"layer_norm_eps": 0.1}),
        ("roberta", {"type_vocab_size": 1}),
        ("roberta", {"pad_token_id": 0}),
        ("camembert", {"pad_token_id": 5}),
        ("xlm-roberta", {"bos_token_id": 7, "eos_token_id": [2, 3]}),
        ("roberta", {"classifier_dropout": 0.4, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}),
    ],
    ids=str,
)
def test_every_setting_agrees(tmp_path: Path, name: str, side: str, changes: dict[str, Any]) -> None:
    oracle = write_checkpoint(tmp_path, name, "fill-mask", **changes)
    batch = make_batch(name, side, changes.get("pad_token_id", 1), changes.get("type_vocab_size", 5))
    close(ask_zoo(tmp_path, batch).logits, ask(oracle, batch).logits, batch.mask)


def test_sinusoids_are_stored_and_read_like_any_table(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "distilbert", sinusoidal_pos_embds=True)
    stored = read_tensors(tmp_path)["embeddings.position_embeddings.weight"]
    angles = torch.arange(19)[:, None] / 10_000 ** (torch.arange(0, 24, 2) / 24)
    close(stored, torch.stack([angles.sin(), angles.cos()], -1).flatten(1))
    assert zoo.load(str(tmp_path)).backbone.get_parameter("embeddings.positions.weight").equal(stored)


@every_family
@pytest.mark.parametrize("task", ["fill-mask", "text-classification", "token-classification", "question-answering"])
def test_dropout_falls_where_it_should_in_training(tmp_path: Path, name: str, task: str) -> None:
    rates = (
        {"dropout": 0.25, "attention_dropout": 0.3, "seq_classif_dropout": 0.4, "qa_dropout": 0.35}
        if name == "distilbert"
        else {"hidden_dropout_prob": 0.25, "attention_probs_dropout_prob": 0.3, "classifier_dropout": 0.4}
    )
    oracle = write_checkpoint(tmp_path, name, task, **rates).train()
    batch, model = make_batch(name, "none"), zoo.load(str(tmp_path)).train()
    with torch.no_grad():
        torch.manual_seed(3)
        expected = oracle(**batch.inputs())
        torch.manual_seed(3)  # both drop the same if they draw as many numbers, for the same places, in the same order
        found = model(**batch.inputs())
    for field in FIELDS.get(task, ["logits"]):
        close(getattr(found, field), expected[field])


@pytest.mark.parametrize("name", ROBERTAS)
@pytest.mark.parametrize(("rate", "expected"), [(0.4, 0.4), (0.0, 0.0), (None, 0.25)])
def test_dropout_around_a_classifier_is_the_configs(
    tmp_path: Path, name: str, rate: float | None, expected: float
) -> None:
    write_checkpoint(tmp_path, name, "text-classification", classifier_dropout=rate, hidden_dropout_prob=0.25)
    head = zoo.load(str(tmp_path)).head
    assert head is not None
    assert [module.p for module in head.modules() if isinstance(module, nn.Dropout)] == [expected] * 2


@every_family
def test_the_longest_input_agrees_and_one_more_token_is_refused(tmp_path: Path, name: str) -> None:
    oracle, model = write_checkpoint(tmp_path, name), zoo.load(str(tmp_path))
    ids = torch.arange(20).reshape(1, 20) + 30
    assert (model.max_length, model.spec.longest_input) == (19, 19)
    with torch.no_grad():
        close(model(ids[:, :19]).last_hidden_state, oracle(ids[:, :19]).last_hidden_state)
    with pytest.raises(InvalidInput) as refused:
        model(ids)
    assert str(refused.value) == "The input has 20 tokens; the model takes at most 19"


@every_family
def test_attention_is_that_of_transformers(tmp_path: Path, name: str) -> None:
    write_checkpoint(tmp_path, name)
    oracle = reload(tmp_path, FAMILIES[name].class_name("feature-extraction"), attn_implementation="eager")
    batch, model = make_batch(name, "right"), zoo.load(str(tmp_path))
    with torch.no_grad(), recorded_attention(model.backbone) as recorded:
        model(**batch.inputs())
        expected = oracle(**batch.inputs(), output_attentions=True).attentions
    assert len(recorded) == len(expected) == 2
    for found, weights in zip(recorded, expected, strict=True):
        close(found.transpose(1, 2)[batch.mask.bool()], weights.transpose(1, 2)[batch.mask.bool()])


SAVED: list[tuple[str, str, dict[str, Any]]] = [
    *((name, "feature-extraction", {}) for name in FAMILIES),
    *((name, "feature-extraction", {"pooler": False}) for name in ROBERTAS),
    *((name, "fill-mask", {"tie_word_embeddings": tied}) for name in FAMILIES for tied in (True, False)),
    *((name, "text-classification", label_keys()) for name in FAMILIES),
    *((name, "token-classification", label_keys()) for name in FAMILIES),
    *((name, "question-answering", {}) for name in FAMILIES),
    ("distilbert", "fill-mask", {"sinusoidal_pos_embds": True, "tie_weights_": True}),
]


@pytest.mark.parametrize(("name", "task", "changes"), SAVED, ids=lambda value: str(value)[:40])
def test_load_and_save_gives_back_every_byte_and_the_same_config(
    tmp_path: Path, name: str, task: str, changes: dict[str, Any]
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    oracle, batch = write_checkpoint(source, name, task, **changes), make_batch(name, "right")
    zoo.load(str(source)).save(target)
    assert_same_bytes(read_tensors(target), read_tensors(source))
    assert read_config(target) == read_config(source)
    pooler = {"add_pooling_layer": False} if "pooler" in changes else {}
    found, expected = ask(reload(target, FAMILIES[name].class_name(task), **pooler), batch), ask(oracle, batch)
    for field, tensor in expected.items():
        torch.testing.assert_close(found[field], tensor, atol=1e-6, rtol=0)  # kernels differ with the alignment


@every_family
def test_half_precision_is_written_back_as_it_was(tmp_path: Path, name: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    make_oracle(name, "fill-mask").bfloat16().save_pretrained(source)
    zoo.load(str(source)).save(target)
    assert {tensor.dtype for tensor in read_tensors(target).values()} == {torch.bfloat16}
    assert_same_bytes(read_tensors(target), read_tensors(source))


@every_family
@pytest.mark.parametrize("task", SUFFIXES)
def test_a_model_built_from_a_spec_loads_in_transformers(tmp_path: Path, name: str, task: str) -> None:
    family = FAMILIES[name]
    labels = LABELS if task in ("text-classification", "token-classification") else None
    model = zoo.build(zoo.make_spec(name, **family.sizes), task, labels=labels)
    model.save(tmp_path)
    assert read_config(tmp_path)["architectures"] == [family.class_name(task)]
    oracle, batch = reload(tmp_path, family.class_name(task)), make_batch(name, "none")
    with torch.no_grad():
        found, expected = model(**batch.inputs()), oracle(**batch.inputs())
    for field in FIELDS.get(task, ["logits"]):
        close(getattr(found, field), expected[field])


@every_family
def test_what_older_versions_stored_besides_is_accepted_and_written_back(tmp_path: Path, name: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    oracle, batch = write_checkpoint(source, name, "fill-mask"), make_batch(name, "right")
    tensors = read_tensors(source)
    prefix, output = ("distilbert", "vocab_projector") if name == "distilbert" else ("roberta", "lm_head.decoder")
    older = {
        f"{prefix}.embeddings.position_ids": torch.arange(FAMILIES[name].sizes["max_position_embeddings"])[None],
        f"{output}.weight": tensors[f"{prefix}.embeddings.word_embeddings.weight"],
    }
    if name != "distilbert":
        older |= {"roberta.pooler.dense.weight": torch.randn(24, 24), "roberta.pooler.dense.bias": torch.randn(24)}
        older["lm_head.decoder.bias"] = tensors["lm_head.bias"]
    write_tensors(source, tensors | older)
    close(ask_zoo(source, batch).logits, ask(oracle, batch).logits, batch.mask)
    zoo.load(str(source)).save(target)
    assert_same_bytes(read_tensors(target), tensors | older)


@every_family
def test_a_language_models_backbone_takes_a_fresh_classifier(tmp_path: Path, name: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write_checkpoint(source, name, "fill-mask")
    model, batch = zoo.load(str(source), "text-classification", labels=LABELS), make_batch(name, "none")
    assert model.fresh_parameters == (
        "head.pooler.dense.weight",
        "head.pooler.dense.bias",
        "head.classifier.weight",
        "head.classifier.bias",
    )
    model.save(target)
    with torch.no_grad():
        found = model(**batch.inputs()).logits
        close(found, reload(target, FAMILIES[name].class_name("text-classification"))(**batch.inputs()).logits)


# Configs as they are published, and what they are read as.
SST2 = {
    "activation": "gelu", "architectures": ["DistilBertForSequenceClassification"], "attention_dropout": 0.1,
    "dim": 768, "dropout": 0.1, "finetuning_task": "sst-2", "hidden_dim": 3072,
    "id2label": {"0": "NEGATIVE", "1": "POSITIVE"}, "initializer_range": 0.02,
    "label2id": {"NEGATIVE": 0, "POSITIVE": 1}, "max_position_embeddings": 512, "model_type": "distilbert",
    "n_heads": 12, "n_layers": 6, "output_past": True, "pad_token_id": 0, "qa_dropout": 0.1,
    "seq_classif_dropout": 0.2, "sinusoidal_pos_embds": False, "tie_weights_": True, "vocab_size": 30522,
}  # fmt: skip
SQUAD2 = {
    "architectures": ["RobertaForQuestionAnswering"], "attention_probs_dropout_prob": 0.1, "bos_token_id": 0,
    "eos_token_id": 2, "gradient_checkpointing": False, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
    "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 3072, "language": "english",
    "layer_norm_eps": 1e-05, "max_position_embeddings": 514, "model_type": "roberta", "name": "Roberta",
    "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 1, "position_embedding_type": "absolute",
    "transformers_version": "4.8.2", "type_vocab_size": 1, "use_cache": True, "vocab_size": 50265,
}  # fmt: skip


@pytest.mark.parametrize("config", [SST2, SQUAD2], ids=["distilbert", "roberta"])
def test_published_configs_are_read_and_written_back_whole(config: dict[str, Any]) -> None:
    spec = zoo.get_architecture(config["model_type"]).spec.from_config(config)
    assert spec.to_config(config) == config
    assert spec == zoo.make_spec(config["model_type"])  # the proportions that make_spec fills in are the base model's


def test_sizes_left_out_take_the_familys_proportions_under_either_spelling() -> None:
    small = zoo.make_spec("distilbert", dim=128)
    assert small == zoo.make_spec("distilbert", hidden_size=128)
    assert small.to_config() | {"n_heads": 2, "n_layers": 6, "dim": 128, "hidden_dim": 512} == small.to_config()
    vocabularies = {name: zoo.make_spec(name, hidden_size=96).vocab_size for name in ROBERTAS}
    assert vocabularies == {"roberta": 50265, "camembert": 32005, "xlm-roberta": 250002}
    assert zoo.make_spec("camembert", hidden_size=96).to_config()["model_type"] == "camembert"


ACTIVATIONS = "'gelu', 'gelu_new', 'gelu_fast', 'gelu_pytorch_tanh', 'relu', 'silu', 'swish' or 'tanh'"
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("distilbert", {"activation": "mish"}, f"activation: is 'mish'; Input should be {ACTIVATIONS}"),
    ("distilbert", {"hidden_size": 32}, "hidden_size: contradicts dim: 32 and 24"),
    ("distilbert", {"n_heads": 5}, "settings: hidden_size 24 is not a multiple of num_attention_heads 5"),
    ("distilbert", {"sinusoidal_pos_embds": "yes"}, "sinusoidal_pos_embds: is 'yes'; Input should be a valid boolean"),
    (
        "distilbert",
        {"pruned_heads": {"0": [1]}},
        "pruned_heads: is {'0': [1]}; Dictionary should have at most 0 items after validation, not more",
    ),
    (
        "roberta",
        {"position_embedding_type": "relative_key"},
        "position_embedding_type: is 'relative_key'; Input should be 'absolute'",
    ),
    ("roberta", {"is_decoder": True}, "is_decoder: is True; Input should be False"),
    ("xlm-roberta", {"add_cross_attention": True}, "add_cross_attention: is True; Input should be False"),
    ("camembert", {"hidden_act": "mish"}, f"hidden_act: is 'mish'; Input should be {ACTIVATIONS}"),
    ("roberta", {"pad_token_id": None}, "pad_token_id: is None; Input should be a valid integer"),
    (
        "xlm-roberta",
        {"pad_token_id": 20},
        "settings: max_position_embeddings 21 leaves no position for a token; "
        "the first 21 are for padding (pad_token_id 20)",
    ),
]


def refusal(name: str, problem: str) -> str:
    return (
        f"The settings do not describe a '{name}' that this version of Zoo implements:\n  {problem}\n"
        f"See what it accepts with: zoo arch show {name}"
    )


@pytest.mark.parametrize(("name", "changes", "problem"), REFUSED, ids=lambda value: str(value)[:40])
def test_values_that_are_not_implemented_are_refused(
    tmp_path: Path, name: str, changes: dict[str, Any], problem: str
) -> None:
    write_checkpoint(tmp_path, name)
    change_config(tmp_path, **changes)
    with pytest.raises(InvalidConfig) as refused:
        zoo.load(str(tmp_path))
    assert str(refused.value) == refusal(name, problem)


@pytest.mark.parametrize(
    ("name", "key"), [("distilbert", "dim"), ("roberta", "layer_norm_eps"), ("camembert", "type_vocab_size")]
)
def test_what_published_checkpoints_differ_in_has_to_be_said(tmp_path: Path, name: str, key: str) -> None:
    write_checkpoint(tmp_path, name)
    change_config(tmp_path, remove=[key])
    with pytest.raises(InvalidConfig) as refused:
        zoo.load(str(tmp_path))
    assert str(refused.value) == refusal(name, f"{key}: is missing")


@pytest.mark.parametrize(
    ("name", "key"), [("distilbert", "hidden_act"), ("distilbert", "type_vocab_size"), ("roberta", "adapters")]
)
def test_a_key_that_nobody_reads_is_refused_by_name(tmp_path: Path, name: str, key: str) -> None:
    write_checkpoint(tmp_path, name)
    change_config(tmp_path, **{key: 2})
    with pytest.raises(UnknownConfigKey) as refused:
        zoo.load(str(tmp_path))
    assert str(refused.value) == (
        f"config.json has the key {key}, which the architecture '{name}' does not know; a setting that nobody reads "
        f'could change the numbers. If it is known to be harmless, accept it with ignore_config_keys=["{key}"] '
        f"(on the command line: --ignore-config-key {key})"
    )


LARGE = {"hidden_size": 1024, "num_hidden_layers": 24}
CATALOGUE: dict[str, tuple[int, dict[str, Any]]] = {  # short name: labels, and what differs from the usual sizes
    "distilbert-base-uncased": (0, {}),
    "distilbert-base-cased": (0, {"vocab_size": 28996}),
    "distilbert-base-multilingual-cased": (0, {"vocab_size": 119547}),
    "distilbert-sst2": (2, {}),
    "distilbert-base-uncased-squad": (2, {}),
    "distilbert-base-cased-squad": (2, {"vocab_size": 28996}),
    "roberta-base": (0, {}),
    "roberta-large": (0, LARGE),
    "distilroberta-base": (0, {"num_hidden_layers": 6}),
    "roberta-large-mnli": (3, LARGE),
    "roberta-base-squad2": (2, {}),
    "all-distilroberta-v1": (0, {"num_hidden_layers": 6}),
    "camembert-base": (0, {}),
    "xlm-roberta-base": (0, {}),
    "xlm-roberta-large": (0, LARGE),
    "xlm-roberta-base-language-detection": (20, {}),
    "multilingual-e5-base": (0, {}),
    "multilingual-e5-large": (0, LARGE),
    "paraphrase-multilingual-mpnet-base-v2": (0, {}),
    "bge-reranker-v2-m3": (1, LARGE | {"max_position_embeddings": 8194}),
}


def test_the_catalogue_counts_parameters_exactly() -> None:
    entries = {entry.name: entry for entry in list_checkpoints() if entry.architecture in FAMILIES}
    assert {name: entry.plugin for name, entry in entries.items()} == dict.fromkeys(CATALOGUE, "zoo-encoder-only")
    assert {name: entry.parameters for name, entry in entries.items()} == {
        name: count_parameters(zoo.get_architecture(entry.architecture), entry.task, *CATALOGUE[name])
        for name, entry in entries.items()
    }


def count_parameters(architecture: Architecture, task: str, labels: int, sizes: dict[str, Any]) -> int:
    head = architecture.head(task)
    settings = HeadSettings(tuple(map(str, range(labels))))
    model = assemble(architecture, zoo.make_spec(architecture.name, **sizes), head, settings)
    return sum(parameter.numel() for parameter in model.parameters())
