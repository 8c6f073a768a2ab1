"""Faults of decoders: rotary positions, grouped heads, causality, and what is kept between passes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from encoder_mutants import gating_the_other_half
from mutating import Mutation, backbone, every, forward, heads, masking, method, patched, put, reaches, seeing
from torch import Tensor, nn

import zoo.layers.attention
from zoo.layers import stacks
from zoo.layers.attention import NOTHING, Attention
from zoo.layers.blocks import PreNormLayer
from zoo.layers.cache import LayerCache
from zoo.layers.feedforward import GatedFeedForward
from zoo.layers.heads import LanguageModel, LastTokenClassifier
from zoo.layers.norms import RMSNorm
from zoo.layers.rotary import Rotary


def with_base(base: float) -> Mutation:
    return backbone(reaches(lambda reach: replace(reach, rotary=Rotary(reach.rotary.dim, base))))  # type: ignore[union-attr]


def turning_neighbours(original: Any) -> Callable[..., Tensor]:
    def rotate(heads: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        cosines, sines = (part[..., : part.shape[-1] // 2].repeat_interleave(2, -1) for part in rotary)
        pairs = heads.unflatten(-1, (-1, 2))
        return heads * cosines + torch.stack([-pairs[..., 1], pairs[..., 0]], -1).flatten(-2) * sines

    return rotate


def turning_backwards(original: Any) -> Callable[..., Tensor]:
    return lambda heads, rotary: original(heads, (rotary[0], -rotary[1]))


def turning_half(original: Any) -> Callable[..., Tensor]:
    """Only the first half of a head, as where partial_rotary_factor is 0.5."""

    def rotate(heads: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        half = heads.shape[-1] // 2
        parts = (rotary[0][..., :half], rotary[1][..., :half])
        return torch.cat([original(heads[..., :half], parts), heads[..., half:]], -1)

    return rotate


def unturned(name: str) -> Mutation:
    """The query or the keys without their rotary positions."""

    def without(self: Any, hidden: Tensor, context: Any, *rest: Any) -> Any:
        return getattr(Attention, name)(self, hidden, context._replace(rotary=None), *rest)

    return backbone(every(Attention, method(name, without)))


def positions_after(change: Callable[[Tensor], Tensor]) -> Mutation:
    """Other positions where the first of a pass is not the text's first."""

    def changed(original: Any) -> Callable[..., Any]:
        return lambda self, positions, dtype: original(self, change(positions), dtype)

    return patched(Rotary, "__call__", changed)


def tiled(attention: Any) -> None:
    """Key and value heads repeated as a whole: 0, 1, 0, 1 for 0, 0, 1, 1."""

    def text(self: Any, *inputs: Any) -> tuple[Tensor, ...]:
        return tuple(part.repeat(1, groups, 1, 1) for part in Attention._text(self, *inputs))

    groups = attention.num_attention_heads // attention.num_key_value_heads
    attention.num_key_value_heads = attention.num_attention_heads
    method("_text", text)(attention)


def overwriting(original: Any) -> Callable[..., Any]:
    def extend(self: Any, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        original(self, key, value)
        return key, value

    return extend


def newest_first(original: Any) -> Callable[..., Any]:
    def extend(self: Any, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        return tuple(part.roll(key.shape[2], 2) for part in original(self, key, value))

    return extend


def stale_values(original: Any) -> Callable[..., Any]:
    def extend(self: Any, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = original(self, key, value)
        return keys, values[:, :, : key.shape[2]].repeat(1, 1, keys.shape[2], 1)[:, :, : keys.shape[2]]

    return extend


def aligned_at_the_left(distance: Tensor, past: int) -> Tensor:
    return distance - past >= 0 if distance.shape[0] > 1 else distance >= 0


def without_mean(self: Any, hidden: Tensor) -> Tensor:
    return type(self).forward(self, hidden - hidden.mean(-1, keepdim=True))


def ungated(self: Any, hidden: Tensor) -> Tensor:
    return self.down(self.gate(hidden) * self.up(hidden))


def at(place: int) -> Callable[[Any, Any], None]:
    def pooled(self: Any, hidden: Tensor, input_ids: Tensor, attention_mask: Any) -> Tensor:
        return self.classifier(hidden[:, place])

    return lambda head, _: forward(pooled)(head)


def tied(head: Any, backbone: Any) -> None:
    head.output.weight = backbone.embeddings.tokens.weight


def untied(head: Any, backbone: Any) -> None:
    head.output.weight = nn.Parameter(torch.empty_like(head.output.weight))


def normalising_sums(self: Any, hidden: Tensor, context: Any = NOTHING, cache: Any = None) -> Tensor:
    hidden = self.attention_output_norm(hidden + self.attention(self.attention_norm(hidden), context, cache))
    return self.feedforward_output_norm(hidden + self.feedforward(self.feedforward_norm(hidden)))


def counting_padding(original: Any) -> Callable[..., Tensor]:
    return lambda attention_mask, time, device: original(None, time, device)


def counting_what_is_attended(original: Any) -> Callable[..., Tensor]:
    """As many implementations do; the first tokens of a pass lose what stood before the mask."""

    def positions(attention_mask: Tensor | None, time: int, device: Any) -> Tensor:
        return torch.arange(time, device=device)[None] if attention_mask is None else attention_mask.long().cumsum(-1)

    return positions


def restarting(self: Any, input_ids: Tensor, positions: Tensor, token_type_ids: Any = None) -> Tensor:
    return type(self).forward(self, input_ids, positions - positions[:, :1], token_type_ids)


def window_forgotten(original: Any) -> Callable[..., Any]:
    """A decoder's window holds in the first pass alone."""

    def mask(attention_mask: Any, reference: Tensor, past: int, **options: Any) -> Any:
        return original(attention_mask, reference, past, **options | ({"window": None} if past else {}))

    return mask


def window_from_the_start(original: Any) -> Callable[..., Any]:
    """The window is counted from the first position of a pass, as where what is cached does not count."""

    def mask(attention_mask: Any, reference: Tensor, past: int, **options: Any) -> Any:
        wider = (options["window"] or 10**6) + past
        return original(attention_mask, reference, past, **options | {"window": wider})

    return mask


LLAMA: dict[str, Mutation] = {
    "wrong rope base": with_base(10_000.0),
    "rope over neighbouring dimensions": patched(zoo.layers.attention, "rotate", turning_neighbours),
    "rope backwards": patched(zoo.layers.attention, "rotate", turning_backwards),
    "rope over half of the head": patched(zoo.layers.attention, "rotate", turning_half),
    "rope not applied to keys": unturned("_text"),
    "rope not applied to queries": unturned("_query"),
    "positions restart after the first pass": positions_after(lambda places: places - places[:, :1]),
    "positions one too far after the first pass": positions_after(lambda places: places + (places[:, :1] > 0)),
    "grouped heads repeated in the wrong order": backbone(every(Attention, tiled)),
    "causal mask missing": seeing(lambda distance, past: distance == distance),
    "causal mask one too far": seeing(lambda distance, past: distance >= -1),
    "no token sees itself": seeing(lambda distance, past: distance > 0),
    "causal mask of a later pass begins at the left": seeing(aligned_at_the_left),
    "attention mask ignored": masking(lambda mask, past: None),
    "attention mask ignored after the first pass": masking(lambda mask, past: None if past else mask),
    "cache overwrites": patched(LayerCache, "extend", overwriting),
    "cache puts the newest first": patched(LayerCache, "extend", newest_first),
    "cache gives the first values again": patched(LayerCache, "extend", stale_values),
    "heads as wide as hidden_size says": backbone(every(Attention, put(scale=4**-0.5))),
    "gate and up exchanged": backbone(every(GatedFeedForward, forward(gating_the_other_half))),
    "gate without activation": backbone(every(GatedFeedForward, forward(ungated))),
    "wrong norm eps": backbone(every(RMSNorm, put(eps=1e-6))),
    "norm around the mean": backbone(every(RMSNorm, forward(without_mean))),
    "last norm left out": backbone(put(norm=nn.Identity())),
    "output bias left out": backbone(every(Attention, lambda attention: put(bias=None)(attention.output))),
    "output tied against the spec": heads(LanguageModel, tied),
    "last index pooled": heads(LastTokenClassifier, at(-1)),
    "first index pooled": heads(LastTokenClassifier, at(0)),
    "layers in reverse": backbone(lambda built: setattr(built, "order", built.order[::-1])),
}
STRETCHED_LLAMA: dict[str, Mutation] = {
    "scaling ignored": with_base(100.0),
    "all dimensions scaled": backbone(
        reaches(lambda r: replace(r, rotary=Rotary(8, 100.0, scaling="linear", factor=4.0)))
    ),
}
GEMMA2: dict[str, Mutation] = {
    "window one wider": backbone(reaches(lambda r: replace(r, window=r.window and r.window + 1))),
    "window one narrower": backbone(reaches(lambda r: replace(r, window=r.window and r.window - 1))),
    "window missing": backbone(reaches(lambda r: replace(r, window=None))),
    "window in all layers": backbone(reaches(lambda r: replace(r, window=4))),
    "windows in the other layers": backbone(lambda b: put(reach_of=tuple(1 - n for n in b.reach_of))(b)),
    "window missing after the first pass": patched(stacks, "window_mask", window_forgotten),
    "window counted from the pass's first position": patched(stacks, "window_mask", window_from_the_start),
    "scores not capped": backbone(every(Attention, put(softcap=None))),
    "scores capped by another bound": backbone(every(Attention, put(softcap=50.0))),
    "scores scaled by the head's width": backbone(every(Attention, put(scale=10**-0.5))),
    "logits not capped": heads(LanguageModel, lambda head, _: put(softcap=None)(head)),
    "embeddings not scaled": backbone(lambda built: put(scale=1.0)(built.embeddings)),
    "weights of norms not counted from one": backbone(every(RMSNorm, put(offset=0.0))),
    "norm after the sum in place of before": backbone(every(PreNormLayer, forward(normalising_sums))),
    "output untied": heads(LanguageModel, untied),
}
GPT2: dict[str, Mutation] = {
    "positions count padding": patched(stacks, "positions", counting_padding),
    "positions count from one where there is a mask": patched(stacks, "positions", counting_what_is_attended),
    "positions restart after the first pass": backbone(lambda built: forward(restarting)(built.embeddings)),
    "scores of all layers scaled alike": backbone(every(Attention, put(scale=8**-0.5))),
}
