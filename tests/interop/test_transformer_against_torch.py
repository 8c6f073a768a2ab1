"""The original Transformer against torch.nn.Transformer, weights copied over: transformers has none like it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.testing.models import toy_model

pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor")  # a shortcut that odd numbers of heads rule out
SIDES = ("right", "left")
SOURCE, TARGET = (9, 4, 7), (5, 8, 3)  # tokens in each row
ATTENTIONS = {"self_attn": "attention", "multihead_attn": "cross_attention"}
NORMS = {
    False: {"norm1": "attention_norm", "norm2": "feedforward_norm"},
    True: {"norm1": "attention_norm", "norm2": "cross_attention_norm", "norm3": "feedforward_norm"},
}


@pytest.fixture(scope="module")
def model() -> zoo.Model:
    """A small one, every weight random."""
    return toy_model("transformer", "text2text-generation")


@pytest.fixture(scope="module")
def oracle(model: zoo.Model) -> nn.Transformer:
    """torch's, of the same sizes and with the same weights: no biases in attention, and no norm after a stack."""
    spec: Any = model.spec
    oracle = nn.Transformer(
        d_model=spec.hidden_size,
        nhead=spec.num_attention_heads,
        num_encoder_layers=spec.num_hidden_layers,
        num_decoder_layers=spec.decoder_layers,
        dim_feedforward=spec.intermediate_size,
        dropout=0.0,
        activation="relu",
        layer_norm_eps=spec.layer_norm_epsilon,
        batch_first=True,
        norm_first=False,
    )
    oracle.encoder.norm = oracle.decoder.norm = None
    with torch.no_grad():
        for stack in ("encoder", "decoder"):
            theirs_of, ours_of = (module.get_submodule(f"{stack}.layers") for module in (oracle, model.backbone))
            for theirs, ours in zip(theirs_of.children(), ours_of.children(), strict=True):
                copy_layer(ours, theirs)
    return oracle.eval()


def copy_layer(ours: Any, theirs: Any) -> None:
    for name, own in ATTENTIONS.items():
        if hasattr(theirs, name):
            attention, copied = getattr(ours, own), getattr(theirs, name)
            projections = (attention.query, attention.key, attention.value)
            copied.in_proj_weight.copy_(torch.cat([projection.weight for projection in projections]))
            copied.in_proj_bias.zero_()
            copied.out_proj.weight.copy_(attention.output.weight)
            copied.out_proj.bias.zero_()
            assert [bias for bias in attention.state_dict() if bias.endswith("bias")] == []
    for name, own in NORMS[hasattr(theirs, "multihead_attn")].items():
        getattr(theirs, name).load_state_dict(getattr(ours, own).state_dict())
    theirs.linear1.load_state_dict(ours.feedforward.up.state_dict())
    theirs.linear2.load_state_dict(ours.feedforward.down.state_dict())


def draw(lengths: tuple[int, ...], side: str, vocab_size: int, time: int = 10) -> tuple[Tensor, Tensor]:
    """Give ids (batch, time) and their mask, bool."""
    ids = torch.randint(1, vocab_size, (len(lengths), time), generator=torch.Generator().manual_seed(sum(lengths)))
    places, counts = torch.arange(time)[None], torch.tensor(lengths)[:, None]
    return ids, places < counts if side == "right" else places >= time - counts


def embed(tokens: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Give sqrt(d_model) · tokens + sinusoids, number by number as in sections 3.4 and 3.5 of the paper."""
    width = tokens.shape[1]
    hidden: Tensor = tokens[ids].double() * width**0.5
    for row, column in mask.nonzero().tolist():
        place = int(mask[row, :column].sum())
        for axis in range(width):
            angle = torch.tensor(place / 10000 ** (axis // 2 * 2 / width), dtype=torch.float64)
            hidden[row, column, axis] += angle.cos() if axis % 2 else angle.sin()
    return hidden.float()


@pytest.mark.parametrize("side", SIDES)
def test_every_state_and_score_is_as_torch_has_it(model: zoo.Model, oracle: nn.Transformer, side: str) -> None:
    (source, source_mask), (target, target_mask) = (
        draw(lengths, side, model.spec.vocab_size) for lengths in (SOURCE, TARGET)
    )
    tokens = model.backbone.get_parameter("tokens.weight").detach()
    # torch takes what may not be seen. A target's padding on the left would see nothing at all, so that sees itself.
    unseen = ~(target_mask[:, None] & torch.ones(10, 10, dtype=torch.bool).tril() | torch.eye(10, dtype=torch.bool))
    with torch.no_grad():
        memory = oracle.encoder(embed(tokens, source, source_mask), src_key_padding_mask=~source_mask)
        expected = oracle.decoder(
            embed(tokens, target, target_mask),
            memory,
            tgt_mask=unseen.repeat_interleave(oracle.nhead, 0),
            memory_key_padding_mask=~source_mask,
        )
        found: Any = model(
            input_ids=source,
            attention_mask=source_mask,
            decoder_input_ids=target,
            decoder_attention_mask=target_mask,
        )
    close(found.encoder_last_hidden_state[source_mask], memory[source_mask])
    close(found.last_hidden_state[target_mask], expected[target_mask])
    close(found.logits[target_mask], expected[target_mask] @ tokens.T)


def test_the_whole_of_torch_agrees_where_nothing_is_padded(model: zoo.Model, oracle: nn.Transformer) -> None:
    (source, full), (target, _) = (draw((10, 10), "right", model.spec.vocab_size, time) for time in (10, 7))
    tokens = model.backbone.get_parameter("tokens.weight").detach()
    with torch.no_grad():
        expected = oracle(
            embed(tokens, source, full),
            embed(tokens, target, full[:, :7]),
            tgt_mask=nn.Transformer.generate_square_subsequent_mask(7),
            tgt_is_causal=True,
        )
        found: Any = model(input_ids=source, decoder_input_ids=target)
    close(found.last_hidden_state, expected)


def test_one_embedding_serves_both_stacks_and_the_output(model: zoo.Model) -> None:
    named = dict(model.named_parameters(remove_duplicate=False))
    shared = {name for name, parameter in named.items() if parameter is named["backbone.tokens.weight"]}
    assert shared == {
        "backbone.tokens.weight",
        "backbone.encoder.embeddings.tokens.weight",
        "backbone.decoder.embeddings.tokens.weight",
        "head.output.weight",
    }


def test_the_base_model_has_the_paper_s_sizes() -> None:
    spec: Any = zoo.make_spec("transformer")
    sizes = (spec.hidden_size, spec.num_hidden_layers, spec.decoder_layers, spec.num_attention_heads)
    assert (*sizes, spec.intermediate_size, spec.dropout) == (512, 6, 6, 8, 2048, 0.1)
    assert spec.longest_input is None


def test_dropout_is_of_sums_and_sublayers_alone(model: zoo.Model) -> None:
    rates = {name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout) and module.p}
    layers = [f"backbone.{stack}.layers.{n}" for stack, count in (("encoder", 2), ("decoder", 3)) for n in range(count)]
    expected = ["backbone.encoder.embeddings", "backbone.decoder.embeddings", *layers]
    assert rates == {f"{name}.dropout": 0.1 for name in expected}
    assert {module.dropout for name, module in model.named_modules() if name.endswith("attention")} == {0.0}


def close(found: Tensor, expected: Tensor) -> None:
    """Compare elementwise."""
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
