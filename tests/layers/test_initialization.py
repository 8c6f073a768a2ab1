"""Fresh weights: for the names asked for, from the seed alone."""

import torch
from torch import nn

from zoo.layers.heads import LanguageModel
from zoo.layers.initialization import fresh_weights
from zoo.layers.norms import RMSNorm


def test_fresh_weights_are_made_for_the_names_alone_and_without_a_device() -> None:
    with torch.device("meta"):
        module = nn.ModuleDict({"a": nn.Linear(8, 12), "norm": nn.LayerNorm(8), "b": nn.Linear(12, 8)})
    fresh = fresh_weights(module, ["b.weight", "b.bias", "norm.weight"], 0.5, seed=1)
    assert {name: tuple(tensor.shape) for name, tensor in fresh.items()} == {
        "norm.weight": (8,),
        "b.weight": (8, 12),
        "b.bias": (8,),
    }
    assert fresh["norm.weight"].equal(torch.ones(8))
    assert fresh["b.bias"].equal(torch.zeros(8))
    expected = torch.empty(8, 12).normal_(0, 0.5, generator=torch.Generator().manual_seed(1))
    assert fresh["b.weight"].equal(expected)


def test_the_first_pattern_that_fits_a_name_gives_its_deviation() -> None:
    with torch.device("meta"):
        module = nn.ModuleDict({name: nn.Linear(3, 2, bias=False) for name in ("up", "down", "other")})
    names = [name for name, _ in module.named_parameters()]
    fresh = fresh_weights(module, names, 0.5, seed=1, deviations={"d*.weight": 7.0, "*n.weight": 3.0, "up.*": 2.0})
    plain = fresh_weights(module, names, 1.0, seed=1)
    for name, deviation in (("up.weight", 2.0), ("down.weight", 7.0), ("other.weight", 0.5)):
        torch.testing.assert_close(fresh[name], deviation * plain[name], rtol=1e-6, atol=0)


def test_modules_that_begin_otherwise_say_so() -> None:
    with torch.device("meta"):
        tokens = nn.Embedding(11, 8)
        module = nn.ModuleDict(
            {"near": RMSNorm(8, 1e-6, offset=1.0), "head": LanguageModel(tokens=tokens, tied=False, fixed_bias=True)}
        )
    fresh = fresh_weights(module, [name for name, _ in module.named_parameters()], 0.5, seed=1)
    assert fresh["near.weight"].equal(torch.zeros(8))  # it counts as 1: the offset is added
    assert fresh["head.fixed_bias"].equal(torch.zeros(1, 11))
    assert bool((fresh["head.output.weight"] != 0).all())
    assert [tensor.device.type for tensor in fresh.values()] == ["cpu"] * 3
