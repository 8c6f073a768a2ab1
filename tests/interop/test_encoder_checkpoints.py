"""What checkpoints of encoders come as: old spellings, shards, prefixes, leftovers, heads that nobody asks for."""

from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.checkpoints import (
    LABELS,
    assert_same_bytes,
    change_config,
    read_config,
    read_tensors,
    write_tensors,
)
from tests.interop import oracles
from tests.interop.cases import encoder_only
from tests.interop.oracles import subject_of
from zoo.errors import WeightsMismatch

CASES = {case.architecture: case for case in encoder_only.CASES}
BERT, ALBERT, ELECTRA = encoder_only.BERT, encoder_only.ALBERT, encoder_only.ELECTRA
ROBERTAS = ("roberta", "camembert", "xlm-roberta")
every_encoder = pytest.mark.parametrize("name", CASES)


def load(folder: Path, *arguments: Any, **named: Any) -> zoo.Model:
    return zoo.load(str(folder), *arguments, device="cpu", **named)


def save_again(source: Path, target: Path) -> None:
    """Load and save, and compare every byte."""
    load(source).save(target)
    assert_same_bytes(read_tensors(target), read_tensors(source))


def test_the_spelling_gamma_and_beta_is_read(tmp_path: Path) -> None:
    oracle = oracles.write(tmp_path, subject := subject_of(BERT, "fill-mask"))
    spelled = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in read_tensors(tmp_path).items()
    }
    assert sum(name.endswith(("gamma", "beta")) for name in spelled) == 12
    write_tensors(tmp_path, spelled)
    oracles.compare(load(tmp_path), oracle, subject, "right")


@every_encoder
def test_shards_written_by_transformers_are_read(tmp_path: Path, name: str) -> None:
    oracle = oracles.make_oracle(subject := subject_of(CASES[name], "fill-mask"))
    oracle.save_pretrained(tmp_path, max_shard_size="15KB")
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 1
    assert not (tmp_path / "model.safetensors").exists()
    oracles.compare(load(tmp_path), oracle, subject, "right")


@every_encoder
@pytest.mark.parametrize("task", ["feature-extraction", "feature-extraction (without a pooler)"])
def test_a_backbone_that_carries_the_prefix_is_read_and_keeps_it(tmp_path: Path, name: str, task: str) -> None:
    case, source, target = CASES[name], tmp_path / "source", tmp_path / "target"
    if task not in case.classes:
        pytest.skip("it has no pooler to leave out")
    oracle = oracles.write(source, subject := subject_of(case, task))
    prefix = zoo.get_architecture(name).layout.prefix
    write_tensors(source, {prefix + key: tensor for key, tensor in read_tensors(source).items()})
    oracles.compare(load(source), oracle, subject, "right")
    save_again(source, target)
    oracles.reload(target, subject)


@every_encoder
def test_what_older_versions_stored_besides_is_read_and_written_back(tmp_path: Path, name: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    oracle = oracles.write(source, subject := subject_of(CASES[name], "fill-mask"))
    tensors = read_tensors(source)
    write_tensors(source, tensors | leftovers(name, tensors))
    oracles.compare(load(source), oracle, subject, "right")
    save_again(source, target)


def leftovers(name: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give what checkpoints with a fill-mask head once held: positions, a pooler, the tied output layer once more."""
    prefix = zoo.get_architecture(name).layout.prefix
    found = {}
    if name != "modernbert":
        found[f"{prefix}embeddings.position_ids"] = torch.arange(CASES[name].config["max_position_embeddings"])[None]
    pooler = {"albert": "pooler", **dict.fromkeys((*ROBERTAS, "bert"), "pooler.dense")}.get(name)
    if pooler:
        found |= {f"{prefix}{pooler}.weight": torch.randn(24, 24), f"{prefix}{pooler}.bias": torch.randn(24)}
    if name in ("distilbert", *ROBERTAS):
        output = "vocab_projector" if name == "distilbert" else "lm_head.decoder"
        found[f"{output}.weight"] = tensors[f"{prefix}embeddings.word_embeddings.weight"]
    if name in ROBERTAS:
        found["lm_head.decoder.bias"] = tensors["lm_head.bias"]
    return found


@pytest.mark.parametrize(
    ("name", "task", "kept"),
    [
        ("electra", "feature-extraction (discriminator)", ["electra.embeddings.position_ids"]),
        ("electra", "token-classification", ["electra.embeddings.position_ids"]),
        ("albert", "token-classification", ["albert.pooler.weight", "albert.pooler.bias"]),
        ("albert", "question-answering", ["albert.pooler.weight", "albert.pooler.bias"]),
    ],
    ids=str,
)
def test_leftovers_beside_other_heads_are_written_back(tmp_path: Path, name: str, task: str, kept: list[str]) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    oracles.write(source, subject_of(CASES[name], task))
    shapes = {"position_ids": (1, 19), "weight": (24, 24), "bias": (24,)}
    write_tensors(source, read_tensors(source) | {key: torch.randn(shapes[key.rpartition(".")[2]]) for key in kept})
    save_again(source, target)


@every_encoder
def test_float16_is_written_back_as_it_was(tmp_path: Path, name: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    oracles.make_oracle(subject_of(CASES[name], "fill-mask")).to(torch.float16).save_pretrained(source)
    save_again(source, target)
    assert {tensor.dtype for tensor in read_tensors(target).values()} == {torch.float16}


@every_encoder
@pytest.mark.parametrize("side", oracles.SIDES)
def test_a_cast_to_bfloat16_agrees_within_its_precision(tmp_path: Path, name: str, side: str) -> None:
    oracles.write(tmp_path, subject := subject_of(CASES[name], "fill-mask"))
    oracle, model = oracles.reload(tmp_path, subject, dtype=torch.bfloat16), load(tmp_path, dtype="bfloat16")
    batch = oracles.make_batch(subject, oracle.config, side)
    found = oracles.ask_zoo(model, batch.inputs())["logits"]
    assert found.dtype == torch.bfloat16
    for row in range(len(batch.source.places)):
        expected = oracles.ask(oracle, subject, batch.row(row))["logits"][0].float()
        oracles.close(batch.cut("logits", found, row).float(), expected, tolerance=1e-2 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("bert", "fill-mask (pretraining)"),
        ("albert", "fill-mask (pretraining)"),
        ("electra", "feature-extraction (discriminator)"),
    ],
)
@pytest.mark.parametrize("architectures", [None, ["Another"]])
def test_a_pretraining_checkpoint_that_claims_no_known_head_is_a_backbone(
    tmp_path: Path, name: str, task: str, architectures: list[str] | None
) -> None:
    case, source, target = CASES[name], tmp_path / "source", tmp_path / "target"
    oracle = oracles.write(source, subject_of(case, task)).base_model
    change_config(source, ["architectures"], **({} if architectures is None else {"architectures": architectures}))
    backbone = subject_of(case, "feature-extraction")
    model = load(source)
    oracles.compare(model, oracle, backbone, "right")
    model.save(target)
    assert_same_bytes(dict(oracles.reload(target, backbone).state_dict()), dict(oracle.state_dict()))


def test_a_projection_that_the_widths_make_needless_is_kept_and_left_behind_by_a_new_head(tmp_path: Path) -> None:
    source, same, new = tmp_path / "source", tmp_path / "same", tmp_path / "new"
    oracle = oracles.write(source, subject_of(ELECTRA, "feature-extraction (discriminator)", embedding_size=24))
    names = ("electra.embeddings_project.weight", "electra.embeddings_project.bias")
    write_tensors(source, read_tensors(source) | {names[0]: torch.randn(24, 24), names[1]: torch.randn(24)})
    oracles.compare(load(source), oracle, subject_of(ELECTRA, "feature-extraction"), "right")
    save_again(source, same)
    load(source, "token-classification", labels=LABELS).save(new)
    oracles.reload(new, subject_of(ELECTRA, "token-classification"))


def test_a_projection_that_the_widths_need_may_not_be_missing(tmp_path: Path) -> None:
    oracles.write(tmp_path, subject_of(ELECTRA, "feature-extraction"))
    tensors = read_tensors(tmp_path)
    write_tensors(tmp_path, {key: tensor for key, tensor in tensors.items() if "project" not in key})
    with pytest.raises(WeightsMismatch) as refused:
        load(tmp_path)
    assert str(refused.value) == (
        "The checkpoint's tensors do not fit the architecture 'electra'; nothing was loaded.\n"
        "missing (2):\n  embeddings_project: weight, bias\n"
        "Check that config.json belongs to these weights, or fetch them again with: zoo rm, then zoo pull"
    )


@every_encoder
@pytest.mark.parametrize("task", ["text-classification", "token-classification"])
def test_a_language_models_backbone_takes_a_fresh_classifier(tmp_path: Path, name: str, task: str) -> None:
    case, source, target = CASES[name], tmp_path / "source", tmp_path / "target"
    oracles.write(source, subject_of(case, "fill-mask"))
    model, subject = load(source, task, labels=LABELS), subject_of(case, task)
    model.save(target)
    fresh = [key for key, _ in model.named_parameters() if key.startswith("head.")]
    if name == "modernbert":  # its heads transform the states alike, so that is learnt already
        fresh = [key for key in fresh if "classifier" in key]
    assert list(model.fresh_parameters) == fresh
    oracles.compare(model, oracles.reload(target, subject), subject, "none")


@pytest.mark.parametrize(
    ("name", "pretrained"), [("electra", "feature-extraction (discriminator)"), ("albert", "fill-mask (pretraining)")]
)
@pytest.mark.parametrize("task", ["text-classification", "token-classification"])
def test_a_pretraining_checkpoint_gets_a_new_head(tmp_path: Path, name: str, pretrained: str, task: str) -> None:
    case, source, target = CASES[name], tmp_path / "source", tmp_path / "target"
    oracles.write(source, subject_of(case, pretrained))
    model, subject = load(source, task, labels=LABELS), subject_of(case, task)
    assert all(parameter.startswith("head.") for parameter in model.fresh_parameters)
    assert ("head.pooler.dense.weight" in model.fresh_parameters) == (
        (name, task) == ("electra", "text-classification")  # ALBERT's was pretrained
    )
    model.save(target)
    oracles.compare(model, oracles.reload(target, subject), subject, "none")


TIED = {
    "electra": ["dense.weight", "dense.bias", "norm.weight", "norm.bias", "decoder.weight", "decoder.bias"],
    "albert": ["bias", "dense.weight", "dense.bias", "norm.weight", "norm.bias", "decoder.weight"],
}


@pytest.mark.parametrize("name", TIED)
def test_a_tied_head_is_one_parameter(tmp_path: Path, name: str) -> None:
    oracles.write(tmp_path, subject_of(CASES[name], "fill-mask"))
    head, backbone = (model := load(tmp_path)).head, model.backbone
    assert head is not None
    assert head.get_parameter("decoder.weight") is backbone.get_parameter("embeddings.tokens.weight")
    assert [key for key, _ in head.named_parameters()] == TIED[name]


def test_sinusoids_are_stored_and_read_like_any_table(tmp_path: Path) -> None:
    import transformers

    config = transformers.DistilBertConfig(**encoder_only.DISTILBERT.config, sinusoidal_pos_embds=True)
    transformers.DistilBertModel(config).save_pretrained(tmp_path)
    stored = read_tensors(tmp_path)["embeddings.position_embeddings.weight"]
    angles = torch.arange(19)[:, None] / 10_000 ** (torch.arange(0, 24, 2) / 24)
    oracles.close(stored, torch.stack([angles.sin(), angles.cos()], -1).flatten(1))
    assert load(tmp_path).backbone.get_parameter("embeddings.positions.weight").equal(stored)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("inner", [1, 2])
def test_layers_of_a_group_are_one_set_of_parameters(groups: int, inner: int) -> None:
    sizes = dict(ALBERT.config) | {"num_hidden_layers": 6, "num_hidden_groups": groups, "inner_group_num": inner}
    built = zoo.build(zoo.make_spec("albert", **sizes), device="cpu")
    assert [key for key, _ in built.named_parameters() if key.endswith("query.weight")] == [
        f"backbone.layers.{group}.{layer}.attention.query.weight" for group in range(groups) for layer in range(inner)
    ]


@pytest.mark.parametrize(
    "subject",
    [subject for case in CASES.values() for subject in oracles.heads_of(case) if "(" not in subject.title],
    ids=str,
)
def test_a_model_built_from_a_spec_says_its_class(tmp_path: Path, subject: oracles.Subject) -> None:
    labels = LABELS if subject.task in oracles.LABELLED else None
    spec = zoo.make_spec(subject.case.architecture, **subject.case.config)
    zoo.build(spec, subject.task, labels=labels, device="cpu").save(tmp_path)
    assert read_config(tmp_path)["architectures"] == [subject.class_name]
    oracles.compare(load(tmp_path), oracles.reload(tmp_path, subject), subject, "left")
