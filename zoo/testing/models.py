"""Small models and batches of an architecture, for its checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo.host import get_architecture
from zoo.loading import build, make_spec
from zoo.tasks import get_task

if TYPE_CHECKING:
    from zoo.layers.cache import Cache
    from zoo.model import Model
    from zoo.specs import Spec

# Every size differs from every other, so that a swapped axis cannot pass.
TOY_SIZES = {
    "vocab_size": 53,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 19,
}
LABELS = ("first", "second", "third", "fourth", "fifth")
LENGTHS = (9, 4, 7)


def toy_spec(name: str) -> Spec:
    """Give a small spec: toy sizes, the architecture's own `toy_sizes`, and its usual proportions for the rest."""
    architecture = get_architecture(name)
    known = architecture.spec.known_keys()
    sizes = {key: size for key, size in TOY_SIZES.items() if key in known}
    return make_spec(name, **{**sizes, **architecture.toy_sizes})


def toy_model(name: str, task: str, seed: int = 0) -> Model:
    """Give a small model in float32 whose weights are all random, norms and biases too, so that none can be left out."""
    labels = LABELS if get_task(task).fixed_labels is None else None
    model = build(toy_spec(name), task, labels=labels, device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 0.3
            centre = 1.0 if parameter.dim() == 1 and bool((parameter == 1).all()) else 0.0
            parameter.copy_(centre + scale * torch.randn(parameter.shape, generator=generator))
    return model


@dataclass(frozen=True)
class Batch:
    """Rows of random tokens, padded. ids: (batch, time); mask: bool (batch, time); places: where each row stands."""

    ids: Tensor
    mask: Tensor
    places: tuple[slice, ...]

    def inputs(self) -> dict[str, Tensor]:
        """The arguments of a model's forward pass."""
        return {"input_ids": self.ids, "attention_mask": self.mask}


def toy_batch(spec: Spec, side: str, time: int = 11) -> Batch:
    """Give three rows of 9, 4 and 7 tokens, padded on the "left" or "right" to `time`."""
    generator = torch.Generator().manual_seed(5)
    ids = torch.full((len(LENGTHS), time), spec.pad_token_id or 0)
    mask = torch.zeros(ids.shape, dtype=torch.bool)
    places = []
    for row, length in enumerate(LENGTHS):
        place = slice(time - length, time) if side == "left" else slice(0, length)
        ids[row, place] = torch.randint(3, spec.vocab_size, (length,), generator=generator)
        if isinstance(spec.eos_token_id, int) and spec.eos_token_id != spec.pad_token_id:
            # As every tokenizer ends what such a model reads; and once before, as after the first of two sentences.
            ids[row, [place.start + 2, place.stop - 1]] = spec.eos_token_id
        mask[row, place] = True
        places.append(place)
    return Batch(ids, mask, tuple(places))


def answers(model: Model, **inputs: Any) -> dict[str, Tensor]:
    """Run a model without gradients and give every tensor of its output by name."""
    with torch.no_grad():
        output = model(**inputs)
    return {name: value for name, value in vars(output).items() if value is not None}


def decode(model: Model, ids: Tensor, mask: Tensor | None = None, cache: Cache | None = None) -> Tensor:
    """Give the last hidden state of what writes: of a decoder, or of the one beside an encoder, over a fixed source."""
    if model.architecture.kind == "decoder-only":
        hidden: Tensor = model.backbone(ids, mask, cache)
        return hidden
    generator = torch.Generator().manual_seed(9)
    source = torch.randn((ids.shape[0], 6, model.hidden_size), generator=generator)
    seen = torch.arange(6)[None, :] >= torch.arange(ids.shape[0])[:, None]
    decoded: Tensor = model.backbone.decode(ids, mask, source, seen, cache)  # type: ignore[operator]
    return decoded


def row_answers(found: dict[str, Tensor], row: int, place: slice) -> dict[str, Tensor]:
    """Cut one row out of a batch's answers, without its padding where they have a time axis."""
    time = found["last_hidden_state"].shape[1]
    over_time = {name for name, value in found.items() if value.dim() > 1 and value.shape[1] == time}
    return {name: value[row, place] if name in over_time else value[row] for name, value in found.items()}
