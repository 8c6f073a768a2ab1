"""LoRA: PEFT reads what we write and we read what it writes, with equal logits; an adapter knows its base."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import zoo
from tests.checkpoints import (
    assert_same_bytes,
    read_tensors,
    write_checkpoint,
    write_tensors,
    write_tokenizer,
)
from tests.generation.samples import BART, GPT2, T5, write
from zoo.adapters.attaching import attach
from zoo.errors import AdapterMismatch, CorruptFile, InvalidInput
from zoo.layers.lora import LoraLinear
from zoo.lora import LoraConfig
from zoo.training.finetuning import count_parameters

COMMON = {
    "vocab_size": 53,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
}
REVIEWS = [{"text": f"{word} film", "label": word} for word in ("good", "bad", "very", "good", "bad", "very")]
IDS = torch.randint(5, 53, (3, 11), generator=torch.Generator().manual_seed(5))
WRITING: dict[str, tuple[str, Any, str, tuple[str, ...]]] = {
    "gpt2": (
        "GPT2LMHeadModel", transformers.GPT2Config(**GPT2, pad_token_id=0, eos_token_id=50), "text-generation",
        ("attention.query", "attention.value", "attention.output", "feedforward.down"),
    ),
    "gpt2 all of the fused": (
        "GPT2LMHeadModel", transformers.GPT2Config(**GPT2, pad_token_id=0, eos_token_id=50), "text-generation",
        ("attention.query", "attention.key", "attention.value"),
    ),
    "llama": (
        "LlamaForCausalLM", transformers.LlamaConfig(**COMMON, num_key_value_heads=2, tie_word_embeddings=True),
        "text-generation", ("attention.query", "attention.value"),
    ),
    "gpt_neox": (
        "GPTNeoXForCausalLM", transformers.GPTNeoXConfig(**COMMON, rotary_pct=0.34), "text-generation",
        ("attention.query", "attention.value", "feedforward.up"),
    ),
    "t5": (
        "T5ForConditionalGeneration", transformers.T5Config(**T5, eos_token_id=3, decoder_start_token_id=0),
        "translation", ("attention.query", "cross_attention.value"),
    ),
    "bart": ("BartForConditionalGeneration", transformers.BartConfig(**BART), "summarization", ("attention.query",)),
}  # fmt: skip

KINDS: dict[str, dict[str, bool]] = {
    "lora": {},
    "dora": {"use_dora": True},
    "dora, rank-stabilised": {"use_dora": True, "use_rslora": True},
}


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "backbone")
    write_tokenizer(tmp_path / "backbone")
    return tmp_path / "backbone"


def adapt(backbone: Path, out: Path | None, **lora: Any) -> zoo.FinetuneResult:
    config = zoo.FinetuneConfig(
        epochs=3, batch_size=2, learning_rate=0.02, output_dir=out, lora=LoraConfig(rank=3, alpha=7.0, **lora)
    )
    return zoo.finetune(str(backbone), REVIEWS, task="text-classification", config=config)


def randomise(model: zoo.Model) -> None:
    """Let every neighbour add something, as after long training."""
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, LoraLinear):
                module.lora_b.copy_(0.3 * torch.randn(module.lora_b.shape, generator=generator))
                if module.lora_magnitude is not None:
                    module.lora_magnitude.mul_(1 + 0.3 * torch.rand(module.out_features, generator=generator))


def in_peft(base: Any, folder: Path) -> Any:
    return peft.PeftModel.from_pretrained(base, str(folder)).eval()


# --- PEFT's format ----------------------------------------------------------------------------------------------------


def test_peft_gives_the_same_logits_with_a_classifier_that_was_fresh(backbone: Path, tmp_path: Path) -> None:
    result = adapt(backbone, tmp_path / "adapter", targets=("attention.query", "attention.output", "feedforward.down"))
    base = transformers.AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=3)
    oracle = in_peft(base, tmp_path / "adapter")
    with torch.no_grad():
        found, expected = result.model(IDS).logits, oracle(input_ids=IDS).logits
        plain = base.base_model
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "report.html", "zoo_adapter.json",
    ]  # fmt: skip
    assert plain is not None


@pytest.mark.parametrize("name", WRITING)
@pytest.mark.parametrize("kind", KINDS)
def test_peft_gives_the_same_logits_whatever_the_files_do_to_the_matrices(tmp_path: Path, name: str, kind: str) -> None:
    """Transposed, fused and interleaved ones included; and what it saves is read back."""
    class_name, config, task, targets = WRITING[name]
    write(tmp_path / "base", class_name, config)
    model = zoo.load(tmp_path / "base", task)
    before = model(IDS).logits
    attach(model, LoraConfig(rank=3, alpha=7.0, targets=targets, **KINDS[kind]), seed=1)
    torch.testing.assert_close(model(IDS).logits, before, atol=1e-5, rtol=0)  # nothing is added at first
    randomise(model)
    model.save(tmp_path / "adapter")
    oracle = in_peft(getattr(transformers, class_name).from_pretrained(tmp_path / "base"), tmp_path / "adapter")
    inputs = {"input_ids": IDS}
    if oracle.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = IDS[:, :6]
    with torch.no_grad():
        found, expected = model(**inputs).logits, oracle(**inputs).logits
        assert (found - before[:, : found.shape[1]]).abs().max() > 0.05
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)

    again = zoo.load(tmp_path / "base", adapter=tmp_path / "adapter")
    assert again.adapter is not None and model.adapter is not None
    assert (again.task, again.adapter) == (task, model.adapter.model_copy(update={"targets": again.adapter.targets}))
    oracle.save_pretrained(tmp_path / "theirs")
    theirs = zoo.load(tmp_path / "base", task, adapter=tmp_path / "theirs")
    with torch.no_grad():
        for other in (again, theirs):
            torch.testing.assert_close(other(**inputs).logits, found, atol=2e-5, rtol=1e-5)

    model.merge_adapter()
    model.save(tmp_path / "merged")
    with torch.no_grad():
        whole = getattr(transformers, class_name).from_pretrained(tmp_path / "merged").eval()(**inputs).logits
    torch.testing.assert_close(whole, expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "own",
    [
        {"use_dora": True},
        {"use_rslora": True, "lora_alpha": 5, "layers_to_transform": [1], "layers_pattern": "layer"},
        {"rank_pattern": {"layer.1.attention.self.query": 5}, "alpha_pattern": {"value": 9, "query": 2}},
        {"init_lora_weights": "gaussian", "modules_to_save": ["pooler", "classifier"], "exclude_modules": ["key"]},
    ],
    ids=["dora", "rank-stabilised in one layer", "of several ranks", "with modules learnt whole"],
)
def test_what_peft_made_gives_its_logits_here_and_there_again(
    backbone: Path, tmp_path: Path, own: dict[str, Any]
) -> None:
    base = transformers.AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=3)
    settings = {"task_type": "SEQ_CLS", "r": 3, "lora_alpha": 7, "target_modules": ["query", "value"]} | own
    oracle = peft.get_peft_model(base, peft.LoraConfig(**settings)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in oracle.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        expected = oracle(input_ids=IDS).logits
    oracle.save_pretrained(tmp_path / "theirs")
    model = zoo.load(backbone, "text-classification", labels=["a", "b", "c"], adapter=tmp_path / "theirs")
    assert model.fresh_parameters == ()
    model.save(tmp_path / "ours")
    again = in_peft(
        transformers.AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=3), tmp_path / "ours"
    )
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(again(input_ids=IDS).logits, expected, atol=1e-5, rtol=0)


def test_gradients_of_dora_are_pefts(backbone: Path, tmp_path: Path) -> None:
    model = zoo.load(backbone, "text-classification", labels=["a", "b", "c"])
    attach(model, LoraConfig(rank=3, alpha=7.0, use_dora=True), seed=1)
    randomise(model)
    model.save(tmp_path / "adapter")
    base = transformers.AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=3)
    oracle = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter"), is_trainable=True).eval()
    labels = torch.tensor([2, 0, 1])
    for loss in (model(IDS, labels=labels).loss, oracle(input_ids=IDS, labels=labels).loss):
        torch.autograd.backward(loss)
    names = {"lora_a": "lora_A.default", "lora_b": "lora_B.default", "lora_magnitude": "lora_magnitude_vector.default"}
    theirs = dict(oracle.named_parameters())
    for layer in (0, 1):
        for kind in ("query", "value"):
            own = model.get_submodule(f"backbone.layers.{layer}.attention.{kind}")
            for name, other in names.items():
                there = f"base_model.model.bert.encoder.layer.{layer}.attention.self.{kind}.{other}.weight"
                found, expected = own.get_parameter(name).grad, theirs[there].grad
                assert found is not None and expected is not None and expected.abs().max() > 1e-5
                torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-4)


def test_targets_are_named_shortly_where_that_says_the_same(backbone: Path, tmp_path: Path) -> None:
    """BERT calls three modules of a layer `dense`: two of them are named in full."""
    adapt(backbone, tmp_path / "short")
    config = json.loads((tmp_path / "short" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["query", "value"]
    assert (config["r"], config["lora_alpha"], config["modules_to_save"]) == (3, 7.0, ["classifier"])
    adapt(backbone, tmp_path / "long", targets=("attention.output",))
    config = json.loads((tmp_path / "long" / "adapter_config.json").read_text())
    assert config["target_modules"] == [f"bert.encoder.layer.{n}.attention.output.dense" for n in (0, 1)]


# --- training ---------------------------------------------------------------------------------------------------------


def test_only_neighbours_and_the_fresh_classifier_learn(backbone: Path) -> None:
    before = {name: tensor.clone() for name, tensor in read_tensors(backbone).items()}
    result = adapt(backbone, None)
    learns = {name for name, parameter in result.model.named_parameters() if parameter.requires_grad}
    assert learns == {
        *(
            f"backbone.layers.{n}.attention.{kind}.lora_{side}"
            for n in (0, 1)
            for kind in ("query", "value")
            for side in "ab"
        ),
        "head.classifier.weight",
        "head.classifier.bias",
    }
    for name, parameter in result.model.named_parameters():
        if name.endswith("lora_b"):
            assert parameter.abs().max() > 0, name
    result.model.eval()
    with torch.no_grad():
        for module in result.model.modules():
            if isinstance(module, LoraLinear):
                module.lora_b.zero_()
    vectors = zoo.load(backbone, "feature-extraction").embed(["the cat sat"])
    assert result.model.embed(["the cat sat"]).equal(vectors)
    assert_same_bytes(read_tensors(backbone), before)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_learns_what_it_is_shown(backbone: Path, kind: str) -> None:
    lora = LoraConfig(rank=4, **KINDS[kind])
    config = zoo.FinetuneConfig(epochs=40, batch_size=6, learning_rate=0.02, lora=lora)
    result = zoo.finetune(str(backbone), REVIEWS, task="text-classification", config=config)
    found = result.model.predict([example["text"] for example in REVIEWS])
    assert [label.label for label in found] == [example["label"] for example in REVIEWS]


def test_of_a_minilm_less_than_a_hundredth_learns_the_head_counted_in() -> None:
    """At the default rank and targets, a fresh pooler and classifier included."""
    sizes = {"vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12}
    model = zoo.build(zoo.make_spec("bert", **sizes, intermediate_size=1536), "text-classification")
    attach(model, LoraConfig(), seed=0)
    matrices, head = 6 * 2 * 8 * (384 + 384), (384 + 1) * 384 + (384 + 1) * 2
    assert count_parameters(model, zoo.FinetuneConfig()) == (matrices + head, 22_713_216 + (384 + 1) * 2 + matrices)
    assert (matrices + head) / 22_713_216 < 0.01


def test_how_many_parameters_learn_is_said_and_kept_in_result_and_report(backbone: Path, tmp_path: Path) -> None:
    said: list[str] = []
    config = zoo.FinetuneConfig(max_steps=1, output_dir=tmp_path / "out", lora=LoraConfig(rank=3))
    result = zoo.finetune(str(backbone), REVIEWS, task="text-classification", config=config, say=said.append)
    matrices, head = 2 * 2 * 3 * (24 + 24), (24 + 1) * 3
    every = sum(parameter.numel() for parameter in result.model.parameters())
    assert (result.learnt_parameters, result.parameters) == (matrices + head, every)
    told = f"{matrices + head:,} of {every:,} parameters ({100 * (matrices + head) / every:.2f} %)"
    assert said == [f"beside the weights {told} learn"]
    assert f"<tr><th>learnt</th><td>{told}</td></tr>" in (tmp_path / "out" / "report.html").read_text()


def test_an_adapter_that_was_loaded_learns_on(backbone: Path, tmp_path: Path) -> None:
    adapt(backbone, tmp_path / "adapter", use_dora=True)
    model = zoo.load(backbone, adapter=tmp_path / "adapter")
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    zoo.finetune(model, REVIEWS, config=zoo.FinetuneConfig(epochs=1, learning_rate=0.02))
    changed = {name for name, parameter in model.named_parameters() if not parameter.equal(before[name])}
    assert changed == {name for name in before if ".lora_" in name or name.startswith("head.classifier.")}


def test_an_adapted_model_comes_back_with_its_labels(backbone: Path, tmp_path: Path) -> None:
    result = adapt(backbone, tmp_path / "adapter")
    model = zoo.load(backbone, adapter=tmp_path / "adapter")
    assert (model.task, model.labels, model.fresh_parameters) == ("text-classification", ("bad", "good", "very"), ())
    assert model.adapter == LoraConfig(rank=3, alpha=7.0)
    texts = [example["text"] for example in REVIEWS]
    assert model.predict(texts) == result.model.predict(texts)


def test_a_run_with_an_adapter_goes_on_after_a_stop(backbone: Path, tmp_path: Path) -> None:
    def stop(step: int, steps: int, loss: float) -> None:
        if step == 5:
            raise KeyboardInterrupt

    whole = adapt(backbone, tmp_path / "whole", dropout=0.2)
    config = zoo.FinetuneConfig(
        epochs=3, batch_size=2, learning_rate=0.02, output_dir=tmp_path / "out", save_steps=2,
        lora=LoraConfig(rank=3, alpha=7.0, dropout=0.2),
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        zoo.finetune(str(backbone), REVIEWS, task="text-classification", config=config, watch=stop)
    saved = tmp_path / "out" / "checkpoints" / "step-00000004" / "model.safetensors"
    assert saved.stat().st_size < (backbone / "model.safetensors").stat().st_size / 5  # what stays is not written
    resumed = zoo.finetune(str(backbone), REVIEWS, task="text-classification", config=config, resume=True)
    assert resumed.losses == whole.losses
    names = ("adapter_model.safetensors", "adapter_config.json", "zoo_adapter.json")
    assert all((tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in names)


def test_a_merged_result_is_an_ordinary_checkpoint(backbone: Path, tmp_path: Path) -> None:
    merged = adapt(backbone, tmp_path / "merged", merge=True)
    apart = adapt(backbone, None)
    assert merged.model.adapter is None
    assert not any(isinstance(module, LoraLinear) for module in merged.model.modules())
    assert all(parameter.requires_grad for parameter in merged.model.parameters())
    model = zoo.load(tmp_path / "merged")
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, apart.model(IDS).logits, atol=1e-5, rtol=0)
    oracle = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    with torch.no_grad():
        torch.testing.assert_close(oracle(IDS).logits, model(IDS).logits, atol=1e-5, rtol=0)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_an_adapter_is_refused_on_other_weights(backbone: Path, tmp_path: Path) -> None:
    adapt(backbone, tmp_path / "adapter")
    tensors = read_tensors(backbone)
    tensors["encoder.layer.0.output.dense.bias"][0] += 1e-6
    write_tensors(backbone, tensors)
    with pytest.raises(AdapterMismatch) as raised:
        zoo.load(backbone, adapter=tmp_path / "adapter")
    assert str(raised.value) == (
        f"The adapter '{tmp_path / 'adapter'}' was learnt beside other weights than those of '{backbone}': their digests "
        f"differ. Load the base that it names: {backbone}"
    )


def test_an_adapter_knows_its_base_by_the_content_wherever_that_lies(backbone: Path, tmp_path: Path) -> None:
    adapt(backbone, tmp_path / "adapter")
    backbone.rename(tmp_path / "elsewhere")
    assert zoo.load(tmp_path / "elsewhere", adapter=tmp_path / "adapter").adapter is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"bias": "all", "lora_bias": True}, "bias is 'all', lora_bias is 'True'"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights is 'pissa_niter_4'"),
        ({"rank_pattern": {"^layer.*": 5}}, "rank_pattern is \"{'^layer.*': 5}\""),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication is '[[0, 2], [1, 2]]'"),
        ({"trainable_token_indices": [4]}, "trainable_token_indices is '[4]'"),
        ({"target_parameters": ["experts.up"]}, "target_parameters is \"['experts.up']\""),
        (
            {"use_qalora": True, "alora_invocation_tokens": [1]},
            "use_qalora is 'True', alora_invocation_tokens is '[1]'",
        ),
        ({"of_the_future": 1}, "of_the_future is '1'"),
    ],
)
def test_adapters_of_other_kinds_are_refused(
    backbone: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    adapt(backbone, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InvalidInput) as raised:
        zoo.load(backbone, adapter=tmp_path / "adapter")
    assert str(raised.value) == (
        f"The adapter '{tmp_path / 'adapter'}' is of a kind that is not implemented: {message}. It would be LoRA or DoRA "
        "without; load it with peft, merge it there, and save what comes out as a whole checkpoint"
    )


def test_a_tied_matrix_that_peft_keeps_apart_is_refused(tmp_path: Path) -> None:
    class_name, config, task, _ = WRITING["llama"]
    write(tmp_path / "base", class_name, config)
    base = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "base")
    own = peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    peft.get_peft_model(base, own).save_pretrained(tmp_path / "theirs")
    with pytest.raises(InvalidInput) as raised:
        zoo.load(tmp_path / "base", task, adapter=tmp_path / "theirs")
    assert str(raised.value) == (
        f"The adapter '{tmp_path / 'theirs'}' has model.embed_tokens.weight of its own, which is one parameter with others in "
        "this model (backbone.embeddings.tokens.weight, head.output.weight), and PEFT would keep them apart. Train it with "
        "ensure_weight_tying, or leave it out of modules_to_save"
    )


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("adapter_config.json", {"r": 0}, "r: Input should be greater than or equal to 1"),
        ("adapter_config.json", {"use_dora": "yes"}, "use_dora: Input should be a valid boolean"),
        ("zoo_adapter.json", {"labels": "good"}, "its labels is 'good'"),
        ("zoo_adapter.json", {"base": {"model.safetensors": 5}}, "its base is \"{'model.safetensors': 5}\""),
        ("zoo_adapter.json", {"problem_type": "guess"}, "its problem_type is 'guess'"),
    ],
)
def test_files_that_say_nonsense_are_refused(
    backbone: Path, tmp_path: Path, name: str, change: dict[str, Any], message: str
) -> None:
    adapt(backbone, tmp_path / "adapter")
    path = tmp_path / "adapter" / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises((InvalidInput, CorruptFile)) as raised:
        zoo.load(backbone, adapter=tmp_path / "adapter")
    assert str(raised.value) in (
        f"The settings of the adapter '{tmp_path / 'adapter'}' are wrong: {message}",
        f"The file '{path}' is corrupt: {message}. It was not loaded; fetch it again, or tell its author",
    )


def test_tensors_that_do_not_fit_are_refused_by_name(backbone: Path, tmp_path: Path) -> None:
    adapt(backbone, tmp_path / "adapter", use_dora=True)
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    query = "base_model.model.bert.encoder.layer.1.attention.self.query"
    for change, reason in (
        ({f"{query}.lora_A.weight": torch.zeros(3, 23)}, "bert.encoder.layer.1.attention.self.query.lora_A.weight has the "
         "shape (3, 23); beside this model it would be (3, 24)"),
        ({f"{query}.lora_B.weight": torch.zeros(24, 2)}, "bert.encoder.layer.1.attention.self.query.lora_B.weight has the "
         "shape (24, 2); beside this model it would be (24, 3)"),
        ({f"{query}.lora_magnitude_vector": torch.zeros(23)}, "bert.encoder.layer.1.attention.self.query."
         "lora_magnitude_vector has the shape (23,); beside this model it would be (24,)"),
        ({f"{query}.lora_magnitude_vector": None}, "bert.encoder.layer.1.attention.self.query.lora_magnitude_vector is not "
         "there"),
        ({"base_model.model.classifier.weight": torch.zeros(4, 24)}, "classifier.weight has the shape (4, 24); in this model "
         "it would be (3, 24)"),
        ({"base_model.model.bert.more": torch.zeros(1)}, "the model has no place for bert.more"),
    ):  # fmt: skip
        save_file({name: one for name, one in (tensors | change).items() if one is not None}, path)
        with pytest.raises(CorruptFile) as raised:
            zoo.load(backbone, adapter=tmp_path / "adapter")
        assert raised.value.reason == reason


def test_what_cannot_be_adapted_is_refused(backbone: Path, tmp_path: Path) -> None:
    model = zoo.load(backbone)
    with pytest.raises(InvalidInput) as raised:
        attach(model, LoraConfig(targets=("attention.querry",)), seed=0)
    assert str(raised.value) == (
        "The model has no matrix 'attention.querry' for LoRA; its layers have: attention.key, attention.output, "
        "attention.query, attention.value, feedforward.down, feedforward.up"
    )
    assert all(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(InvalidInput, match=r"^The model has no adapter to merge$"):
        model.merge_adapter()
    attach(model, LoraConfig(), seed=0)
    with pytest.raises(InvalidInput) as raised:
        attach(model, LoraConfig(), seed=0)
    assert str(raised.value) == "The model has an adapter already; merge it first with model.merge_adapter()"
    with pytest.raises(InvalidInput) as raised:
        zoo.load(backbone, adapter=tmp_path)
    assert str(raised.value) == (
        f"'{tmp_path}' holds no adapter; it would have the files adapter_config.json and adapter_model.safetensors"
    )
