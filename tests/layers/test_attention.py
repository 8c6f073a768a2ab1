"""Attention against the formula, written out row by row, head by head, query by query."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo.layers.attention import Attention, recorded_attention
from zoo.layers.cache import LayerCache
from zoo.layers.masks import Context, padding_mask, window_mask
from zoo.layers.norms import RMSNorm
from zoo.layers.rotary import Rotary

BATCH, TIME, HIDDEN, HEADS, KV_HEADS, HEAD_DIM, SOURCE_TIME = 2, 5, 24, 6, 2, 4, 7


def make(**options: Any) -> tuple[Attention, Tensor]:
    torch.manual_seed(1)
    attention = Attention(hidden_size=HIDDEN, num_attention_heads=HEADS, **options).eval()
    return attention, torch.randn(BATCH, TIME, HIDDEN)


def by_hand(
    attention: Attention,
    hidden: Tensor,
    seen: Tensor,
    *,
    source: Tensor | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Each head's softmax(q·k · scale)·v. seen: bool (batch, time, keys); bias: (heads, time, keys)."""
    source = hidden if source is None else source
    query, key, value = attention.query(hidden), attention.key(source), attention.value(source)
    head_dim = query.shape[-1] // HEADS
    shared = query.shape[-1] // key.shape[-1]  # query heads that share a key
    scale = 1 / math.sqrt(head_dim) if scale is None else scale
    mixed, weights = torch.zeros_like(query), torch.zeros(BATCH, HEADS, hidden.shape[1], source.shape[1])
    for row in range(BATCH):
        for head in range(HEADS):
            mine = slice(head * head_dim, (head + 1) * head_dim)
            theirs = slice(head // shared * head_dim, (head // shared + 1) * head_dim)
            for asking in range(hidden.shape[1]):
                scores = []
                for place in range(source.shape[1]):
                    score = float(query[row, asking, mine] @ key[row, place, theirs]) * scale
                    score = score if softcap is None else softcap * math.tanh(score / softcap)
                    score += 0.0 if bias is None else float(bias[head, asking, place])
                    scores.append(math.exp(score) * bool(seen[row, asking, place]))
                for place, score in enumerate(scores):
                    weights[row, head, asking, place] = score / sum(scores)
                    mixed[row, asking, mine] += score / sum(scores) * value[row, place, theirs]
    return attention.output(mixed), weights


def check(attention: Attention, hidden: Tensor, context: Context, expected: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(attention(hidden, context), expected[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(attention.weights(hidden, context), expected[1], atol=1e-6, rtol=0)


EVERYTHING = torch.ones(BATCH, TIME, TIME, dtype=torch.bool)


@torch.no_grad()
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"bias": False, "output_bias": True},
        {"num_key_value_heads": KV_HEADS},
        {"num_key_value_heads": 1, "head_dim": 5},
        {"scale": 1.0},
        {"softcap": 0.7},
        {"softcap": 0.7, "num_key_value_heads": KV_HEADS, "head_dim": 5, "scale": 0.9},
        {"upcast": True, "num_key_value_heads": 3},
    ],
    ids=str,
)
def test_values_are_mixed_by_the_formula(options: dict[str, Any], masked: bool) -> None:
    attention, hidden = make(**options)
    attended = torch.ones(BATCH, TIME, dtype=torch.bool)
    if masked:
        attended[0, :2] = attended[1, 4] = False
    seen = attended[:, None, :].expand(BATCH, TIME, TIME)
    settings = {key: options[key] for key in ("scale", "softcap") if key in options}
    context = Context(padding_mask(attended if masked else None))
    check(attention, hidden, context, by_hand(attention, hidden, seen, **settings))


def test_biases_are_where_they_are_asked_for() -> None:
    def biased(**options: Any) -> list[bool]:
        attention = make(**options)[0]
        parts = (attention.query, attention.key, attention.value, attention.output)
        return [part.bias is not None for part in parts]

    assert biased() == [True, True, True, True]
    assert biased(bias=False) == [False, False, False, False]
    assert biased(output_bias=False) == [True, True, True, False]
    assert biased(bias=False, output_bias=True) == [False, False, False, True]


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"softcap": 2.0}, {"upcast": True}], ids=str)
def test_causal_attention_without_a_mask_looks_back_only(options: dict[str, Any]) -> None:
    attention, hidden = make(causal=True, **options)
    seen = torch.tensor([[key <= query for key in range(TIME)] for query in range(TIME)]).expand(BATCH, TIME, TIME)
    expected = by_hand(attention, hidden, seen, softcap=options.get("softcap"))
    check(attention, hidden, Context(), expected)


@torch.no_grad()
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("masked", [False, True])
def test_a_bias_is_added_to_the_scores(masked: bool, softcap: float | None) -> None:
    attention, hidden = make(softcap=softcap)
    bias = torch.randn(HEADS, TIME, TIME)
    seen = EVERYTHING.clone()
    if masked:
        seen[1, :, :3] = False
    context = Context(seen[:, None] if masked else None, bias=bias[None])
    check(attention, hidden, context, by_hand(attention, hidden, seen, bias=bias, softcap=softcap))


@torch.no_grad()
@pytest.mark.parametrize("masked", [False, True])
def test_cross_attention_reads_the_source_under_its_own_mask(masked: bool) -> None:
    attention, hidden = make(cross=True, num_key_value_heads=KV_HEADS)
    source = torch.randn(BATCH, SOURCE_TIME, HIDDEN)
    present = torch.ones(BATCH, SOURCE_TIME, dtype=torch.bool)
    if masked:
        present[0, 4:] = False
        present[1, :2] = False
    rotary = Rotary(HEAD_DIM, 10.0)(torch.arange(TIME)[None], torch.float32)
    context = Context(  # what belongs to the text itself does not touch it
        mask=torch.zeros(1, 1, TIME, TIME, dtype=torch.bool),
        bias=torch.randn(1, HEADS, TIME, TIME),
        rotary=rotary,
        source=source,
        source_mask=padding_mask(present if masked else None),
    )
    seen = present[:, None, :].expand(BATCH, TIME, SOURCE_TIME)
    check(attention, hidden, context, by_hand(attention, hidden, seen, source=source))


@torch.no_grad()
def test_a_source_is_read_once_where_there_is_a_cache() -> None:
    attention, hidden = make(cross=True)
    source, cache = torch.randn(BATCH, SOURCE_TIME, HIDDEN), LayerCache(capacity=9)
    first = attention(hidden, Context(source=source), cache)
    assert first.equal(attention(hidden, Context(source=source)))
    again = attention(hidden, Context(source=torch.full_like(source, torch.nan)), cache)  # it is not looked at
    assert again.equal(first)
    assert cache.length == 0  # the text's own positions are another attention's


@torch.no_grad()
def test_heads_are_normalised_before_they_turn() -> None:
    attention, hidden = make(query_norm=RMSNorm(HEAD_DIM, 1e-3), key_norm=RMSNorm(HEAD_DIM, 1e-3))
    assert attention.query_norm is not None
    assert attention.key_norm is not None
    nn.init.normal_(attention.query_norm.weight)
    nn.init.normal_(attention.key_norm.weight)
    cosines, sines = torch.randn(1, 1, TIME, HEAD_DIM), torch.randn(1, 1, TIME, HEAD_DIM)

    def prepared(projected: Tensor, weight: Tensor) -> Tensor:
        heads = projected.view(BATCH, TIME, HEADS, HEAD_DIM)
        heads = heads / (heads.square().mean(-1, keepdim=True) + 1e-3).sqrt() * weight
        first, second = heads[..., : HEAD_DIM // 2], heads[..., HEAD_DIM // 2 :]
        return heads * cosines[0, 0][:, None] + torch.cat([-second, first], -1) * sines[0, 0][:, None]

    query = prepared(attention.query(hidden), attention.query_norm.weight)
    key = prepared(attention.key(hidden), attention.key_norm.weight)
    scores = torch.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(HEAD_DIM)
    found = attention.weights(hidden, Context(rotary=(cosines, sines)))
    torch.testing.assert_close(found, scores.softmax(-1), atol=1e-6, rtol=0)


@torch.no_grad()
def test_scores_are_taken_in_float32_where_asked() -> None:
    attention, hidden = make(upcast=True)
    attention, hidden = attention.bfloat16(), hidden.bfloat16()
    query, key = (part(hidden).view(BATCH, TIME, HEADS, HEAD_DIM).float() for part in (attention.query, attention.key))
    value = attention.value(hidden).view(BATCH, TIME, HEADS, HEAD_DIM)
    weights = (torch.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(HEAD_DIM)).softmax(-1).bfloat16()
    mixed = torch.einsum("bhqk,bkhd->bqhd", weights, value).flatten(2)
    torch.testing.assert_close(attention(hidden), attention.output(mixed), atol=1e-2, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "none"])
@pytest.mark.parametrize("options", [{}, {"num_key_value_heads": KV_HEADS}, {"softcap": 2.0}], ids=str)
@pytest.mark.parametrize("window", [None, 3])
def test_passes_over_a_cache_give_what_one_pass_gives(options: dict[str, Any], side: str, window: int | None) -> None:
    attention, hidden = make(causal=True, **options)
    attended = torch.ones(BATCH, TIME, dtype=torch.int64)
    attended[1, :2] = 0
    mask = attended if side == "left" else None

    def context(past: int, stop: int) -> Context:
        seen = None if mask is None else mask[:, :stop]
        return Context(window_mask(seen, hidden[:, past:stop], past, causal=True, window=window, explicit=False))

    cache = LayerCache(capacity=TIME + 3)
    passes = [(0, 2), (2, 4), (4, 5)]
    parts = [attention(hidden[:, start:stop], context(start, stop), cache) for start, stop in passes]
    whole = attention(hidden, context(0, TIME))
    kept = attended.bool() if side == "left" else torch.ones(BATCH, TIME, dtype=torch.bool)
    torch.testing.assert_close(torch.cat(parts, 1)[kept], whole[kept], atol=1e-6, rtol=0)
    assert cache.length == TIME


@torch.no_grad()
def test_keys_that_turn_anew_at_each_pass_are_kept_unturned() -> None:
    attention, hidden = make(causal=True)
    early, late = Rotary(HEAD_DIM, 10.0), Rotary(HEAD_DIM, 50.0)  # as where a text outgrows its original length

    def turned(rotary: Rotary, start: int, stop: int) -> tuple[Tensor, Tensor]:
        return rotary(torch.arange(start, stop)[None], torch.float32)

    cache = LayerCache(capacity=TIME)
    attention(hidden[:, :4], Context(rotary=turned(early, 0, 4), key_rotary=turned(early, 0, 4)), cache)
    last = attention(hidden[:, 4:], Context(rotary=turned(late, 4, 5), key_rotary=turned(late, 0, 5)), cache)
    whole = attention(hidden, Context(rotary=turned(late, 0, 5)))
    torch.testing.assert_close(last, whole[:, 4:], atol=1e-6, rtol=0)


def test_dropout_of_weights_is_for_training_only() -> None:
    for options in ({}, {"upcast": True}):
        attention, hidden = make(dropout=0.5, **options)
        with torch.no_grad():
            assert attention(hidden).equal(attention(hidden))
            attention.train()
            assert not attention(hidden).equal(attention(hidden))


def test_recording_ends_with_its_context_even_after_an_error() -> None:
    attention, hidden = make()
    with pytest.raises(KeyError), recorded_attention(attention) as recorded:
        attention(hidden)
        raise KeyError
    attention(hidden)
    assert len(recorded) == 1
    assert not recorded[0].requires_grad
    assert recorded[0].equal(attention.weights(hidden))


def test_attention_to_the_text_and_to_a_source_is_recorded_apart() -> None:
    own, hidden = make()
    cross, _ = make(cross=True)
    context = Context(source=torch.randn(BATCH, SOURCE_TIME, HIDDEN))
    both = nn.ModuleList([own, cross])
    for wanted, keys in ((False, TIME), (True, SOURCE_TIME)):
        with recorded_attention(both, cross=wanted) as recorded:
            own(hidden, context)
            cross(hidden, context)
        assert [weights.shape for weights in recorded] == [(BATCH, HEADS, TIME, keys)]


@pytest.mark.parametrize("options", [{}, {"num_key_value_heads": KV_HEADS}, {"scale": 1.0}])
def test_a_step_in_bfloat16_is_as_near_to_the_formula_as_a_whole_pass(options: dict[str, Any]) -> None:
    attention, hidden = make(causal=True, **options)
    rounded, whole, cache = attention.to(torch.bfloat16), hidden.to(torch.bfloat16), LayerCache(TIME)
    with torch.no_grad():
        rounded(whole[:, :-1], cache=cache)
        found = rounded(whole[:, -1:], cache=cache)
    seen = torch.ones(BATCH, TIME, TIME).bool()
    expected, _ = by_hand(attention.float(), whole.float(), seen, scale=options.get("scale"))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected[:, -1:], atol=1e-2, rtol=1e-2)
