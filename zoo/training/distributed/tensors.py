"""Tensor parallelism (Shoeybi et al. 2019, https://arxiv.org/abs/1909.08053, section 3): each rank computes its share of
the heads and of the feed-forward layers' inner dimensions, told from the layers' uniform names.

Embeddings, norms and the output over the vocabulary are on every rank.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from zoo.errors import InvalidInput
from zoo.layers.attention import Attention
from zoo.layers.feedforward import FeedForward
from zoo.layers.positions import RelativeBias
from zoo.model import Model

_APART = ("query", "key", "value", "gate", "up")  # a rank has some of their outputs, and reads all inputs
_TOGETHER = ("output", "down")  # a rank has some of their inputs, and what the ranks give is summed


def shard_heads(model: Model, mesh: DeviceMesh) -> tuple[str, ...]:
    """Shard attention and feed-forward layers of a model on the meta device.

    Gives the names of the parameters that every rank holds whole and uses for its heads alone: their gradient is the sum
    over the ranks. Raises InvalidInput where heads or inner dimensions cannot be shared out evenly, and for LoRA.
    """
    if model.adapter is not None:
        raise InvalidInput(
            "LoRA's matrices are not shared out among ranks; with lora, parallel would be 'ddp' or 'fsdp'"
        )
    count, at = mesh.size(), mesh.get_local_rank()
    plan: dict[str, Any] = {}
    summed: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, Attention):
            _check(module.num_attention_heads, count, "attention heads")
            _check(module.num_key_value_heads, count, "key and value heads")
            norms = {"query_norm": module.query_norm, "key_norm": module.key_norm}
            summed += [
                f"{name}.{key}.{own}" for key, norm in norms.items() if norm for own, _ in norm.named_parameters()
            ]
        elif isinstance(module, FeedForward):
            _check(module.up.out_features, count, "inner dimensions of the feed-forward layers (intermediate_size)")
        elif isinstance(module, RelativeBias):
            module.register_forward_hook(_own_heads(count, at))
            summed.append(f"{name}.weight")
            continue
        else:
            continue
        plan |= {f"{name}.{part}": ColwiseParallel() for part in _APART if hasattr(module, part)}
        plan |= {f"{name}.{part}": RowwiseParallel() for part in _TOGETHER if hasattr(module, part)}
    if not plan:
        raise InvalidInput(
            f"parallel is 'tensor'; the architecture '{model.architecture.name}' is not made of zoo.layers' attention, "
            "whose heads could be shared out. Try: parallel='fsdp'"
        )
    parallelize_module(model, mesh, plan)
    return tuple(summed)


def _check(number: int, count: int, what: str) -> None:
    if number % count:
        raise InvalidInput(
            f"parallel is 'tensor', and the model's {number} {what} cannot be shared out evenly among {count} ranks. "
            "Try another number of ranks, or parallel='fsdp'"
        )


def _own_heads(count: int, at: int) -> Any:
    """Give a hook that leaves of a bias (1, heads, time, keys) this rank's heads."""

    def chosen(module: nn.Module, inputs: Any, bias: Tensor) -> Tensor:
        return bias.chunk(count, 1)[at]

    return chosen
