"""What published files hold that transformers does not write today: output layers apart, tables, spellings of old."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import zoo
from tests.checkpoints import assert_same_bytes, read_config, read_tensors
from tests.interop import oracles
from zoo.errors import InvalidConfig, WeightsMismatch

CASES = {case.architecture: case for case in oracles.gather_cases()}
WRITING = "text2text-generation"

# What those who trained DistilBART and KoBART left in their configs.
NOTES: dict[str, Any] = {
    "author": "someone",
    "classif_dropout": 0.3,  # not classifier_dropout
    "do_blenderbot_90_layernorm": False,
    "kobart_version": 2.0,
    "num_hidden_layers": 2,
    "replacing_rate": 0,
    "save_step": 58,
    "student_decoder_layers": None,
    "student_encoder_layers": None,
}


def write(folder: Path, name: str, task: str = WRITING, **changes: Any) -> tuple[Any, dict[str, Tensor]]:
    """Let transformers save a checkpoint; give its model and tensors. changes: of the config."""
    oracle = oracles.make_oracle(oracles.subject_of(CASES[name], task, **changes))
    oracle.save_pretrained(folder)
    return oracle, read_tensors(folder)


def add(folder: Path, tensors: dict[str, Tensor], **keys: Any) -> None:
    """Write a folder's tensors anew, and keys into its config."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(read_config(folder) | keys))


@pytest.mark.parametrize("name", ["t5", "mt5"])
@pytest.mark.parametrize("said_tied", [True, False])  # True: transformers 5 writes that whatever is true
def test_an_output_layer_apart_is_read_and_written_back(name: str, said_tied: bool, tmp_path: Path) -> None:
    _, tensors = write(tmp_path, name, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    generator = torch.Generator().manual_seed(3)
    tensors["lm_head.weight"] = torch.randn(tensors["shared.weight"].shape, generator=generator) / 5
    add(tmp_path, tensors, tie_word_embeddings=said_tied)
    subject = oracles.subject_of(CASES[name], WRITING)
    oracle, model = oracles.reload(tmp_path, subject), zoo.load(str(tmp_path), device="cpu")
    assert torch.equal(oracle.lm_head.weight, tensors["lm_head.weight"])
    assert torch.equal(model.get_parameter("head.output.weight"), tensors["lm_head.weight"])
    oracles.compare(model, oracle, subject, "left")
    model.save(tmp_path / "saved")
    assert_same_bytes(read_tensors(tmp_path / "saved"), tensors)


@pytest.mark.parametrize("name", ["t5", "bart", "mbart", "marian"])
def test_an_embedding_under_all_its_names_stays_one(name: str, tmp_path: Path) -> None:
    _, tensors = write(tmp_path, name)
    prefix = "" if name == "t5" else "model."
    again = ("lm_head", f"{prefix}encoder.embed_tokens", f"{prefix}decoder.embed_tokens")
    tensors |= {f"{other}.weight": tensors[f"{prefix}shared.weight"].clone() for other in again}
    add(tmp_path, tensors)
    model = zoo.load(str(tmp_path), device="cpu")
    embedding = model.get_parameter("backbone.tokens.weight")
    assert [p.shape for p in model.parameters() if p.shape == embedding.shape] == [embedding.shape]
    model.save(tmp_path / "saved")
    assert_same_bytes(read_tensors(tmp_path / "saved"), tensors)


def test_notes_in_a_config_are_left_alone(tmp_path: Path) -> None:
    _, tensors = write(tmp_path, "bart", "text-classification")
    add(tmp_path, tensors, **NOTES)
    model: Any = zoo.load(str(tmp_path), device="cpu")
    assert model.spec.classifier_dropout == 0.0
    model.save(tmp_path / "saved")
    assert read_config(tmp_path / "saved") == read_config(tmp_path)


@pytest.mark.parametrize(
    ("name", "key", "value", "problem"),
    [
        ("bart", "normalize_before", True, "is True; Input should be False"),
        ("bart", "extra_pos_embeddings", 3, "is 3; Input should be 2"),
        ("bart", "encoder_layerdrop", 0.1, "is 0.1; Input should be less than or equal to 0"),
        ("bart", "num_hidden_layers", 5, "contradicts encoder_layers: 5 and 2"),
        ("bart", "tie_word_embeddings", False, "is False; Input should be True"),
        ("mbart", "add_final_layer_norm", False, "is False; Input should be True"),
        ("marian", "share_encoder_decoder_embeddings", False, "is False; Input should be True"),
        ("marian", "static_position_embeddings", False, "is False; Input should be True"),
    ],
)
def test_what_is_not_implemented_is_refused(name: str, key: str, value: Any, problem: str) -> None:
    config = {**zoo.make_spec(name, **CASES[name].config).to_config(), key: value}
    with pytest.raises(InvalidConfig) as refused:
        zoo.get_architecture(name).spec.from_config(config)
    assert refused.value.problems == {key: problem}


@pytest.mark.parametrize(
    ("name", "changes", "problem"),
    [
        ("marian", {"decoder_vocab_size": 54}, "decoder_vocab_size 54 is not vocab_size 53; both stacks read one embedding"),
        ("bart", {"decoder_attention_heads": 5}, "d_model 24 is not a multiple of decoder_attention_heads 5"),
        ("mbart", {"encoder_attention_heads": 7}, "d_model 24 is not a multiple of encoder_attention_heads 7"),
        (
            "t5",
            {"relative_attention_max_distance": 4},
            "relative_attention_max_distance 4 is not above half of relative_attention_num_buckets 8",
        ),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(name: str, changes: dict[str, int], problem: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        zoo.make_spec(name, **{**CASES[name].config, **changes})
    assert refused.value.problems == {"settings": problem}


def test_tables_of_sinusoids_are_computed_and_written_back(tmp_path: Path) -> None:
    oracle, tensors = write(tmp_path, "marian")
    for stack in ("encoder", "decoder"):
        name = f"model.{stack}.embed_positions.weight"
        tensors[name] = oracle.get_parameter(name).detach().clone()
    add(tmp_path, tensors)
    model = zoo.load(str(tmp_path), device="cpu")
    assert [name for name, _ in model.named_parameters() if "positions" in name] == []
    model.save(tmp_path / "saved")
    assert_same_bytes(read_tensors(tmp_path / "saved"), tensors)


def test_long_texts_keep_their_places(tmp_path: Path) -> None:
    oracle, _ = write(tmp_path, "marian", max_position_embeddings=3000, encoder_layers=1, decoder_layers=1)
    subject = oracles.subject_of(CASES["marian"], WRITING)
    ids = torch.randint(1, 52, (1, 3000), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, "decoder_input_ids": ids.flip(1)}
    found = oracles.ask_zoo(zoo.load(str(tmp_path), device="cpu"), inputs)
    for name, value in oracles.ask(oracle, subject, inputs).items():
        oracles.close(found[name], value)


def test_what_decodes_wraps_round_whatever_begins_a_new_text(tmp_path: Path) -> None:
    write(tmp_path, "mbart", decoder_start_token_id=13)
    model: Any = zoo.load(str(tmp_path), device="cpu")
    ids, mask = torch.tensor([[0, 0, 5, 6, 2], [7, 8, 9, 2, 0]]), torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 0]])
    shifted = model.backbone.shift(ids, mask)
    assert [row[places.bool()].tolist() for row, places in zip(shifted, mask, strict=True)] == [[2, 5, 6], [2, 7, 8, 9]]
    assert model.generation_settings.start_token_id == 13


def test_a_bias_of_scores_is_not_learnt_and_must_be_there(tmp_path: Path) -> None:
    _, tensors = write(tmp_path, "bart")
    model = zoo.load(str(tmp_path), device="cpu")
    fixed = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert fixed == ["head.fixed_bias"]
    del tensors["final_logits_bias"]
    add(tmp_path, tensors)
    with pytest.raises(WeightsMismatch) as refused:
        zoo.load(str(tmp_path), device="cpu")
    assert refused.value.missing == ("final_logits_bias",)


def test_a_pretrained_bart_writes_once_it_is_asked_to(tmp_path: Path) -> None:
    write(tmp_path, "bart", "feature-extraction")
    model = zoo.load(str(tmp_path), WRITING, labels=[], device="cpu")
    assert model.fresh_parameters == ("head.fixed_bias",)
    assert not model.get_parameter("head.fixed_bias").any()
