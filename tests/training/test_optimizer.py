"""AdamW's groups: what decays, what learns more slowly, what does not learn at all."""

from pathlib import Path

import pytest
import torch

import zoo
from tests.checkpoints import assert_same_bytes
from tests.training.samples import make_dropless, make_features, make_model, make_run, unwatched
from zoo.errors import InvalidInput
from zoo.tasks import get_task
from zoo.training.freezing import Place, frozen, places
from zoo.training.loop import train
from zoo.training.optimizer import make_optimizer, set_learning_rate


def settings_by_name(model: zoo.Model, optimizer: torch.optim.Optimizer, key: str) -> dict[str, float]:
    """The setting of each parameter that the optimiser has."""
    found = {id(parameter): group[key] for group in optimizer.param_groups for parameter in group["params"]}
    return {name: found[id(parameter)] for name, parameter in model.named_parameters() if id(parameter) in found}


def test_matrices_decay_and_norms_and_biases_do_not() -> None:
    model = make_model()
    model.backbone.get_parameter("embeddings.tokens.weight").requires_grad_(False)
    optimizer = make_optimizer(model, zoo.FinetuneConfig(weight_decay=0.3, learning_rate=0.125))
    decay = settings_by_name(model, optimizer, "weight_decay")
    assert all(group["lr"] == 0.125 and group["fused"] for group in optimizer.param_groups)
    assert decay.keys() == {name for name, _ in model.named_parameters()} - {"backbone.embeddings.tokens.weight"}
    for name, value in decay.items():
        assert value == (0.0 if "norm" in name or name.endswith("bias") else 0.3), name


def test_lower_layers_learn_more_slowly_by_a_factor_each() -> None:
    model = make_model()
    optimizer = make_optimizer(model, zoo.FinetuneConfig(layer_decay=0.5))
    set_learning_rate(optimizer, 0.25)
    rates = settings_by_name(model, optimizer, "lr")
    assert rates["head.classifier.weight"] == 0.25
    assert rates["backbone.layers.1.attention.query.weight"] == 0.125
    assert rates["backbone.layers.0.feedforward.up.bias"] == 0.0625
    assert rates["backbone.embeddings.tokens.weight"] == rates["backbone.embeddings.norm.bias"] == 0.03125
    assert set(rates.values()) == {0.25, 0.125, 0.0625, 0.03125}


def test_each_stack_of_an_encoder_decoder_is_counted_by_itself() -> None:
    spec = zoo.make_spec("bart", vocab_size=53, d_model=24, encoder_layers=3, decoder_layers=2)
    found = places(zoo.build(spec, "text2text-generation"))
    assert found["backbone.tokens.weight"] == Place(0, 4)
    assert found["backbone.encoder.embeddings.positions.weight"] == Place(0, 4)
    assert found["backbone.decoder.embeddings.positions.weight"] == Place(0, 3)
    assert found["backbone.encoder.layers.0.attention.query.weight"] == Place(1, 3)
    assert found["backbone.encoder.layers.2.attention.query.weight"] == Place(3, 1)
    assert found["backbone.decoder.layers.1.attention.query.weight"] == Place(2, 1)


def test_the_norm_after_the_last_layer_stands_with_the_head() -> None:
    sizes = {"vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    found = places(zoo.build(zoo.make_spec("llama", **sizes, intermediate_size=40), "text-generation"))
    assert found["backbone.norm.weight"] == Place(None, 0)
    assert found["backbone.embeddings.tokens.weight"] == Place(0, 3)


@pytest.mark.parametrize(
    ("layers", "still"),
    [
        (None, ()),
        (0, ("backbone.embeddings.",)),
        (1, ("backbone.embeddings.", "backbone.layers.0.")),
        (2, ("backbone.embeddings.", "backbone.layers.")),
    ],
)
def test_frozen_layers_stay_bit_for_bit_and_the_others_move(layers: int | None, still: tuple[str, ...]) -> None:
    model, features = make_dropless(), make_features(7)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    run = make_run(model, features, frozen_layers=layers, learning_rate=1e-2, epochs=2)
    train(run, get_task(model.task), features, [], unwatched)
    for name, parameter in model.named_parameters():
        # The last token's row of a table is not asked for by any text, and a key's bias changes no score.
        if "token_types" not in name and not name.endswith("attention.key.bias"):
            assert parameter.equal(before[name]) is name.startswith(still or ("nothing",)), name
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_the_caller_froze_stays_frozen_afterwards() -> None:
    model = make_model()
    weight = model.head.get_parameter("classifier.weight").requires_grad_(False)
    with frozen(model, 1):
        assert not model.backbone.get_parameter("layers.0.attention.query.weight").requires_grad
    assert not weight.requires_grad
    assert model.backbone.get_parameter("layers.0.attention.query.weight").requires_grad


def test_more_frozen_layers_than_there_are_are_refused() -> None:
    model, features = make_model(), make_features(3)
    with pytest.raises(InvalidInput) as raised:
        train(make_run(model, features, frozen_layers=3), get_task(model.task), features, [], unwatched)
    assert str(raised.value) == "frozen_layers is 3; the model has 2"


def test_one_step_is_adamws_own() -> None:
    """At the first step Adam moves every weight by the learning rate against the sign of its gradient."""
    model, features = make_dropless(), make_features(3)
    weight = model.head.get_parameter("classifier.weight")
    before = weight.detach().clone()
    run = make_run(model, features, learning_rate=0.01, weight_decay=0.5, batch_size=3, epochs=1)
    train(run, get_task(model.task), features, [], unwatched)
    moved = (weight.detach() - before * (1 - 0.01 * 0.5)) / 0.01
    torch.testing.assert_close(moved.abs(), torch.ones_like(moved), atol=1e-2, rtol=0)


def test_where_there_is_no_fused_kernel_the_plain_one_steps() -> None:
    """A device of its own kind has none; the meta device stands for it here."""
    model = make_model().to("meta")
    assert not any(group["fused"] for group in make_optimizer(model, zoo.FinetuneConfig()).param_groups)


def test_matrices_that_are_views_of_a_larger_one_learn_as_by_themselves(tmp_path: Path) -> None:
    """GPT-2's query, key and value lie beside each other in the file, so that each has holes in memory."""
    spec = zoo.make_spec("gpt2", vocab_size=53, n_positions=19, n_embd=24, n_layer=2, n_head=4)
    zoo.build(spec, "text-generation", seed=3).save(tmp_path)
    mapped, copied = zoo.load(tmp_path), zoo.load(tmp_path)
    query = mapped.get_parameter("backbone.layers.0.attention.query.weight")
    assert query.stride() == (1, 72)
    for parameter in copied.parameters():
        parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
    generator = torch.Generator().manual_seed(1)
    for model in (mapped, copied):
        optimizer = make_optimizer(model, zoo.FinetuneConfig(learning_rate=0.01))
        generator.manual_seed(1)
        for _ in range(3):
            for parameter in model.parameters():
                parameter.grad = torch.empty_like(parameter).copy_(torch.randn(parameter.shape, generator=generator))
            optimizer.step()
    assert_same_bytes(dict(mapped.named_parameters()), dict(copied.named_parameters()))
