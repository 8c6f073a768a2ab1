"""feature-extraction: hidden states, and one vector a text by pooling them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from zoo.checkpoint.reader import read_json, read_json_list, read_optional_json
from zoo.errors import CorruptFile, InvalidInput
from zoo.tasks.base import (
    Features,
    HeadSettings,
    Output,
    Task,
    batches,
    check_texts,
    collate,
    encode_texts,
    tokenizer_of,
)

if TYPE_CHECKING:
    from zoo.model import Model

PoolingMode = Literal["mean", "cls", "max", "mean_sqrt_len"]
_FILE_KEYS: dict[str, PoolingMode] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
}


@dataclass(frozen=True)
class Pooling:
    """How a checkpoint makes one vector of a text. max_length: longest text in tokens, None for the model's own."""

    mode: PoolingMode = "mean"
    normalize: bool = False
    max_length: int | None = None


def read_pooling(folder: Path) -> Pooling:
    """Read the files that sentence-embedding checkpoints carry: modules.json and the pooling module's config.json.

    Without them it is the mean, not normalised. Raises CorruptFile.
    """
    path = folder / "modules.json"
    if not path.is_file():
        return Pooling()
    modules = read_json_list(path)
    try:
        types = {str(module["type"]).rpartition(".")[2]: str(module["path"]) for module in modules}
    except (TypeError, KeyError):
        raise CorruptFile(path, "it is not a list of modules with type and path") from None
    unknown = set(types) - {"Transformer", "Pooling", "Normalize"}
    if unknown:
        raise CorruptFile(path, f"it asks for {', '.join(sorted(unknown))}, which is not implemented")
    mode: PoolingMode = "mean"
    if "Pooling" in types:
        if "/" in types["Pooling"] or "\\" in types["Pooling"] or types["Pooling"].startswith("."):
            raise CorruptFile(path, f"its pooling module has the path {types['Pooling']!r}")
        config = read_json(folder / types["Pooling"] / "config.json")
        chosen = [mode for key, mode in _FILE_KEYS.items() if config.get(key) is True]
        if config.get("pooling_mode") in get_args(PoolingMode):
            chosen = [config["pooling_mode"]]
        if len(chosen) != 1:
            raise CorruptFile(
                folder / types["Pooling"] / "config.json", f"it chooses {len(chosen)} known ways of pooling"
            )
        mode = chosen[0]
    length = read_optional_json(folder / "sentence_bert_config.json").get("max_seq_length")
    return Pooling(mode, "Normalize" in types, length if isinstance(length, int) and length > 0 else None)


def pool(hidden: Tensor, attention_mask: Tensor, mode: PoolingMode) -> Tensor:
    """Make one vector a text: hidden (batch, time, hidden) and bool mask (batch, time) to (batch, hidden)."""
    if mode == "cls":
        first = attention_mask.long().argmax(-1)
        return hidden[torch.arange(len(hidden), device=hidden.device), first]
    attended = attention_mask[..., None]
    if mode == "max":
        return hidden.masked_fill(~attended, float("-inf")).amax(1)
    counts = attended.sum(1).clamp(min=1).to(hidden.dtype)
    return (hidden * attended).sum(1) / (counts.sqrt() if mode == "mean_sqrt_len" else counts)


def embed(
    texts: Sequence[str], model: Model, pooling: PoolingMode | None, normalize: bool | None, batch_size: int
) -> Tensor:
    """Give one vector a text, (batch, hidden), float32 on CPU, in input order. Raises InvalidInput."""
    check_texts(texts)
    if batch_size < 1:
        raise InvalidInput(f"batch_size is {batch_size}; it would be at least 1")
    if pooling is not None and pooling not in get_args(PoolingMode):
        raise InvalidInput(f"There is no pooling '{pooling}'; it would be one of: {', '.join(get_args(PoolingMode))}")
    own = read_pooling(model.checkpoint.path) if model.checkpoint is not None else Pooling()
    limits = [length for length in (model.max_length, own.max_length) if length is not None]
    encodings = tokenizer_of(model).encode(texts, max_length=min(limits, default=None))
    features = [Features(e.ids, e.type_ids, source) for source, e in enumerate(encodings)]
    vectors = torch.zeros(len(features), model.hidden_size)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in batches(features, batch_size):
                inputs = collate([features[index] for index in batch], model.pad_token_id, model.device)
                hidden, source = model.states(**inputs)
                pooled = pool(hidden if source is None else source, inputs["attention_mask"], pooling or own.mode)
                vectors[batch] = pooled.float().cpu()
    finally:
        model.train(was_training)
    if own.normalize if normalize is None else normalize:
        vectors = torch.nn.functional.normalize(vectors, dim=-1)
    return vectors


class FeatureExtraction(Task):
    """The hidden states themselves."""

    name = "feature-extraction"
    fixed_labels = ()

    def output(self, scores: Tensor | None, hidden: Tensor, labels: Tensor | None, settings: HeadSettings) -> Output:
        """scores: the pooler's output, where there is one."""
        if labels is not None:
            raise InvalidInput("feature-extraction has no labels to learn from; load the model for another task")
        return Output(last_hidden_state=hidden, pooler_output=scores)

    def encode(self, inputs: Sequence[Any], model: Model) -> list[Features]:
        """inputs: texts."""
        check_texts(inputs)
        return encode_texts(inputs, model)

    def interpret(
        self, inputs: Sequence[Any], features: Sequence[Features], rows: Sequence[Output], model: Model
    ) -> list[Tensor]:
        """Give each text's last hidden state, (time, hidden)."""
        return [row.last_hidden_state for row in rows]


TASK = FeatureExtraction()
