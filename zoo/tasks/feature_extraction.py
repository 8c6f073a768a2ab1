"""feature-extraction: hidden states, and one vector a text by pooling them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from zoo.checkpoint.reader import read_json, read_json_list, read_optional_json
from zoo.errors import CorruptFile, InvalidInput
from zoo.tasks.base import (
    IGNORED_LABEL,
    Features,
    HeadSettings,
    Output,
    PoolingMode,
    Task,
    batches,
    check_columns,
    check_not_empty,
    check_texts,
    collate,
    encode_texts,
    tokenizer_of,
)

if TYPE_CHECKING:
    from zoo.model import Model

SCALE = 20.0  # of cosines before the softmax, as sentence-transformers has it
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


def pooling_of(model: Model) -> Pooling:
    """Give how a model makes one vector of a text. Raises CorruptFile."""
    return read_pooling(model.settings_folder) if model.settings_folder is not None else Pooling()


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
    own = pooling_of(model)
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
        vectors = F.normalize(vectors, dim=-1)
    return vectors


class FeatureExtraction(Task):
    """The hidden states themselves; learnt from pairs of texts that belong together."""

    name = "feature-extraction"
    columns = ("text", "positive")
    compares_rows = True
    fixed_labels = ()

    def output(self, scores: Tensor | None, hidden: Tensor, labels: Tensor | None, settings: HeadSettings) -> Output:
        """scores: the pooler's output, where there is one. labels: (batch, time), -100 in the padding.

        With labels every second row is what belongs to the row before it; each is to be told from all the others by the
        cosine (van den Oord et al. 2018, eq. 4; Henderson et al. 2017).
        """
        loss = None
        if labels is not None:
            if labels.shape != hidden.shape[:2] or len(labels) % 2:
                raise InvalidInput(
                    f"labels have the shape {tuple(labels.shape)}; for pairs of texts it would be {tuple(hidden.shape[:2])}, "
                    "an even number of rows"
                )
            vectors = F.normalize(pool(hidden.float(), labels != IGNORED_LABEL, settings.pooling), dim=-1)
            likeness = SCALE * vectors[::2] @ vectors[1::2].T
            loss = F.cross_entropy(likeness, torch.arange(len(likeness), device=likeness.device))
        return Output(last_hidden_state=hidden, pooler_output=scores, loss=loss)

    def encode(self, inputs: Sequence[Any], model: Model) -> list[Features]:
        """inputs: texts."""
        check_texts(inputs)
        return encode_texts(inputs, model)

    def interpret(
        self, inputs: Sequence[Any], features: Sequence[Features], rows: Sequence[Output], model: Model
    ) -> list[Tensor]:
        """Give each text's last hidden state, (time, hidden)."""
        return [row.last_hidden_state for row in rows]

    def settings_to_train(self, model: Model) -> HeadSettings:
        """With the pooling of the checkpoint's files."""
        return replace(model.settings, pooling=pooling_of(model).mode)

    def encode_examples(
        self, examples: Sequence[Mapping[str, Any]], model: Model, max_length: int | None
    ) -> list[Features]:
        """examples: `text`, and `positive`, a text that belongs to it and not to the other examples."""
        check_columns(examples, self.columns, self.name)
        sides = []
        for column in self.columns:
            texts = [example[column] for example in examples]
            check_texts(texts)
            check_not_empty(examples, column)
            sides.append(encode_texts(texts, model, max_length=max_length))
        for feature, positive, example in zip(*sides, examples, strict=True):
            feature.label = positive.ids
            feature.cut = feature.cut or positive.cut
            feature.reference = positive, (example["text"], example["positive"])
        return sides[0]

    def rows(self, features: Sequence[Features]) -> list[Features]:
        """Each text, and after it what belongs to it."""
        return [row for feature in features for row in (feature, feature.reference[0])]

    def length(self, feature: Features) -> int:
        """Both texts, the shorter padded."""
        return 2 * max(len(feature.ids), len(feature.label))

    def collate_labels(self, features: Sequence[Features], length: int, settings: HeadSettings) -> Tensor:
        """See output()."""
        counts = torch.tensor([len(row.ids) for row in self.rows(features)])
        return torch.where(torch.arange(length)[None, :] < counts[:, None], 0, IGNORED_LABEL)

    def soft_loss(
        self, output: Output, taught: Output, counts: Tensor, settings: HeadSettings, temperature: float
    ) -> Tensor:
        """The mean square of the difference of both models' vectors of each text (Reimers & Gurevych 2020, eq. 1)."""
        found, wanted = (
            pool(states.last_hidden_state.float(), counts, settings.pooling) for states in (output, taught)
        )
        return F.mse_loss(found, wanted)

    def describe_soft_loss(self, settings: HeadSettings, temperature: float) -> str:
        """See Task."""
        return "the mean square of the difference from the teacher's vectors (Reimers & Gurevych 2020)"

    def weight(self, labels: Tensor) -> int:
        """The pairs."""
        return len(labels) // 2

    def records(self, features: Sequence[Features], model: Model, batch_size: int) -> list[int]:
        """Of each text: how many of all the held-out texts are liker to it than the one that belongs to it."""
        pairs = [feature.reference[1] for feature in features]
        mode = model.settings.pooling
        texts, positives = (
            model.embed(list(side), mode, True, batch_size=batch_size) for side in zip(*pairs, strict=True)
        )
        ranks: list[int] = []
        for vectors, own in zip(torch.split(texts, 256), torch.split(positives, 256), strict=True):
            ranks += (vectors @ positives.T > (vectors * own).sum(-1, keepdim=True) + 1e-6).sum(-1).tolist()
        return ranks

    def measure(self, records: Sequence[int]) -> dict[str, float]:
        """recall@1 and recall@10: how often what belongs to a text is among so many likest; mrr: mean of 1 / place."""
        count = max(len(records), 1)
        within = {f"recall@{most}": sum(rank < most for rank in records) / count for most in (1, 10)}
        return within | {"mrr": sum(1 / (rank + 1) for rank in records) / count}


TASK = FeatureExtraction()
