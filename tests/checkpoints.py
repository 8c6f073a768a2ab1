"""Small checkpoints for tests: every dimension differs from every other, so that a swapped axis cannot pass.

transformers makes them, and serves as the oracle; Zoo itself never imports it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

torch.set_num_threads(1)  # at these sizes threads cost more than they give, above all on a busy machine
transformers.utils.logging.disable_progress_bar()

SIZES: Mapping[str, Any] = {
    "vocab_size": 53,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 19,
    "type_vocab_size": 3,
}
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    *("the", "a", "good", "bad", "film", "was", "very", "and", "not", "is", "in", "to", "from", "with", "who", "where"),
    *("when", "sat", "cat", "dog", "ran", "home", "anna", "karin", "berlin", "paris", "lives", "went", "##s", "##ed"),
    *("##ing", "un", "##known", ".", ",", "!", "?", "1", "2", "3"),
)


def make_oracle(class_name: str = "BertModel", seed: int = 0, **changes: Any) -> nn.Module:
    """Give transformers' model of that class with every parameter drawn at random, biases and norms too."""
    add_pooling = {"add_pooling_layer": changes.pop("pooler")} if "pooler" in changes else {}
    config = transformers.BertConfig(**{**SIZES, **changes})
    oracle = getattr(transformers, class_name)(config, **add_pooling)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in oracle.named_parameters():
            centre = 1.0 if "LayerNorm.weight" in name else 0.0
            scale = parameter.shape[1] ** -0.5 if parameter.dim() == 2 and "embeddings" not in name else 0.3
            parameter.copy_(centre + scale * torch.randn(parameter.shape, generator=generator))
    oracle.eval()
    return oracle


def write_checkpoint(folder: Path, class_name: str = "BertModel", seed: int = 0, **changes: Any) -> nn.Module:
    """Let transformers save a checkpoint, and give the model it saved. changes: of its config."""
    shard = {"max_shard_size": changes.pop("max_shard_size")} if "max_shard_size" in changes else {}
    oracle = make_oracle(class_name, seed, **changes)
    oracle.save_pretrained(folder, **shard)
    return oracle


def write_lookup(folder: Path, class_name: str, scores: Mapping[str, Sequence[float]], **changes: Any) -> None:
    """Write a checkpoint with tokenizer whose scores for a token depend on that token alone: those given, else zeros.

    Every word of `scores` has an axis of its own in the embedding, all others share the last one; attention and
    feed-forward layers add nothing. What comes out are about 5 times the scores given.
    """
    oracle = make_oracle(
        class_name, **({} if "id2label" in changes else {"num_labels": len(next(iter(scores.values())))}), **changes
    )
    vocabulary = [*SPECIAL, *WORDS]
    with torch.no_grad():
        for name, parameter in oracle.named_parameters():
            parameter.fill_(1.0 if "LayerNorm.weight" in name else 0.0)
        tokens = oracle.get_parameter("bert.embeddings.word_embeddings.weight")
        output = oracle.get_parameter(
            "qa_outputs.weight" if class_name == "BertForQuestionAnswering" else "classifier.weight"
        )
        tokens[:, -1] = 1.0
        for axis, (word, values) in enumerate(scores.items()):
            tokens[vocabulary.index(word)] = torch.eye(tokens.shape[1])[axis]
            output[:, axis] = torch.tensor(values)
    oracle.save_pretrained(folder)
    write_tokenizer(folder)


def label_keys(labels: Sequence[str] = LABELS) -> dict[str, Any]:
    """The keys of a config that name labels."""
    return {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}


def write_tokenizer(folder: Path, words: Iterable[str] = WORDS, model_max_length: int | None = None) -> None:
    """Write the tokenizer of a BERT: WordPiece, lower case, and settings saved in it that Zoo has to leave aside."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.enable_padding(length=17, pad_id=0, pad_token="[PAD]")
    tokenizer.enable_truncation(max_length=6)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    roles = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    settings: dict[str, Any] = dict(zip(roles, SPECIAL, strict=True))
    if model_max_length is not None:
        settings["model_max_length"] = model_max_length
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def read_config(folder: Path) -> dict[str, Any]:
    """Give config.json as it stands."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config


def change_config(folder: Path, remove: Iterable[str] = (), **changes: Any) -> None:
    """Change keys of config.json."""
    config = {key: value for key, value in (read_config(folder) | changes).items() if key not in remove}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Give every tensor of a checkpoint's safetensors, copied into memory, by name."""
    from safetensors.torch import load

    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load(path.read_bytes())
    return tensors


def write_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Put tensors in place of those in model.safetensors."""
    from safetensors.torch import save_file

    save_file(
        {name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"}
    )


def assert_same_bytes(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Compare names, dtypes, shapes and bits."""
    assert sorted(found) == sorted(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].shape == tensor.shape, name
        assert found[name].contiguous().view(torch.uint8).equal(tensor.contiguous().view(torch.uint8)), name


def listed(names: Sequence[str]) -> str:
    """Names as errors list them: twelve, and how many more."""
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
