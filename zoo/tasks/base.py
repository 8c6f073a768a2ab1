"""What every task has: settings of its head, outputs, collation, and the way from inputs to typed predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from zoo.errors import InvalidConfig, InvalidInput, TokenizerMissing
from zoo.tasks.soft_targets import divergence, told

if TYPE_CHECKING:
    from zoo.model import Model
    from zoo.tokenization import Tokenizer

ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]
PoolingMode = Literal["mean", "cls", "max", "mean_sqrt_len"]
IGNORED_LABEL = -100  # a position that takes no part in the loss: torch's own default


@dataclass(frozen=True)
class HeadSettings:
    """What a head's outputs mean: the name of each, and whether they exclude each other.

    pooling: how one vector is made of a text where vectors are learnt.
    """

    labels: tuple[str, ...] = ()
    problem_type: ProblemType | None = None
    pooling: PoolingMode = "mean"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read `id2label`, `num_labels` and `problem_type` of a config.json; two unnamed labels are the Hub's default.

        Raises InvalidConfig.
        """
        names, count = config.get("id2label"), config.get("num_labels")
        kind = config.get("problem_type")
        architecture = str(config.get("model_type"))
        if kind not in (None, "single_label_classification", "multi_label_classification", "regression"):
            raise InvalidConfig({"problem_type": f"is {kind!r}"}, architecture)
        if names is None:
            number = 2 if count is None else count
            if type(number) is not int or not 0 < number < 10**6:
                raise InvalidConfig({"num_labels": f"is {number!r}; it would be a positive number"}, architecture)
            return cls(tuple(f"LABEL_{index}" for index in range(number)), kind)
        try:
            ordered = {int(index): str(name) for index, name in names.items()}
        except (AttributeError, ValueError, TypeError):
            raise InvalidConfig({"id2label": "does not map numbers to names"}, architecture) from None
        if sorted(ordered) != list(range(len(ordered))):
            raise InvalidConfig({"id2label": f"does not number its labels from 0: {sorted(ordered)}"}, architecture)
        return cls(tuple(ordered[index] for index in range(len(ordered))), kind)

    def to_config(self) -> dict[str, Any]:
        """Give the keys of config.json that say this."""
        config: dict[str, Any] = {
            "id2label": {str(index): label for index, label in enumerate(self.labels)},
            "label2id": {label: index for index, label in enumerate(self.labels)},
        }
        return config | ({"problem_type": self.problem_type} if self.problem_type else {})


@dataclass
class Output:
    """What a model's forward pass gives.

    last_hidden_state: (batch, time, hidden). pooler_output: (batch, hidden), where the head has a pooler.
    logits: (batch, labels), (batch, time, labels) or (batch, time, vocab), by task.
    start_logits, end_logits: (batch, time), question answering only. loss: a scalar, when labels were given.
    encoder_last_hidden_state: (batch, source_time, hidden) where there is an encoder beside the decoder, whose states
    the others are of.
    """

    last_hidden_state: Tensor
    pooler_output: Tensor | None = None
    logits: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    loss: Tensor | None = None
    encoder_last_hidden_state: Tensor | None = None


@dataclass
class Features:
    """One input as token ids, ready for a batch.

    source: index of the input. label: as the task's loss wants it. reference: what the metrics compare an answer with.
    cut: whether the input lost its end. documents: which of several texts in the row a token belongs to, counted from
    1; None for one text.
    """

    ids: list[int]
    type_ids: list[int]
    source: int
    encoding: Any = None
    label: Any = None
    reference: Any = None
    cut: bool = False
    documents: list[int] | None = None


class Task(ABC):
    """A task. `name` is the Hub's pipeline tag; `columns` the keys of a training example."""

    name: str
    head: ClassVar[str | None] = None
    """The task whose head serves this one too; None for its own."""
    decodes_labels: ClassVar[bool] = False
    """Whether the labels are what a decoder is to write, token by token."""
    compares_rows: ClassVar[bool] = False
    """Whether the loss of a batch compares its examples with each other, and is not a mean over them."""
    columns: ClassVar[tuple[str, ...]] = ()
    optional_columns: ClassVar[tuple[str, ...]] = ()
    fixed_labels: ClassVar[tuple[str, ...] | None] = None
    """The labels of every head for this task, where they are not the checkpoint's to name: () for none."""

    @abstractmethod
    def output(self, scores: Tensor | None, hidden: Tensor, labels: Tensor | None, settings: HeadSettings) -> Output:
        """Give the output, with the loss if labels were given. scores: what the head returned."""

    @abstractmethod
    def encode(self, inputs: Sequence[Any], model: Model) -> list[Features]:
        """Turn inputs of `predict` into features, one or several for each. Raises InvalidInput."""

    @abstractmethod
    def interpret(
        self, inputs: Sequence[Any], features: Sequence[Features], rows: Sequence[Output], model: Model
    ) -> list[Any]:
        """Give the typed result of each input, from each feature's own row of the output (without padding, on CPU)."""

    def settings_for(self, examples: Sequence[Mapping[str, Any]]) -> HeadSettings:
        """Give the settings of a fresh head that can learn from these examples. Raises InvalidInput."""
        return HeadSettings(self.fixed_labels or ())

    def serves(self, own: HeadSettings, wanted: HeadSettings) -> bool:
        """Tell whether a head with the settings `own` can learn from data that asks for `wanted`, as it is."""
        return set(wanted.labels) <= set(own.labels)

    def encode_examples(
        self, examples: Sequence[Mapping[str, Any]], model: Model, max_length: int | None
    ) -> list[Features]:
        """Turn training examples into features with labels. Raises InvalidInput.

        max_length: the most tokens of one text; None for no limit.
        """
        raise InvalidInput(f"The task '{self.name}' cannot be trained; choose one that has labels")

    def collate_labels(self, features: Sequence[Features], length: int, settings: HeadSettings) -> Tensor:
        """Give the labels of a batch whose rows are padded to `length`: by default one number a text."""
        return torch.tensor([feature.label for feature in features])

    def settings_to_train(self, model: Model) -> HeadSettings:
        """Give the settings of a model's head while it learns: its own, unless the checkpoint says more."""
        return model.settings

    def rows(self, features: Sequence[Features]) -> list[Features]:
        """Give the rows that go through the model for the features of a batch: one each by default."""
        return list(features)

    def length(self, feature: Features) -> int:
        """Give how many tokens of a feature go through the model."""
        return len(feature.ids)

    def weight(self, labels: Tensor) -> int:
        """Give how many terms the loss over a batch's labels is the mean of: by default one a text."""
        return len(labels)

    def smooth(self, output: Output, labels: Tensor, share: float) -> Tensor:
        """Give the loss with smoothed labels. share: of the probability that all labels have alike.

        Only tasks whose labels a decoder writes have it.
        """
        raise NotImplementedError

    def soft_loss(
        self, output: Output, taught: Output, counts: Tensor, settings: HeadSettings, temperature: float
    ) -> Tensor:
        """Give how far a student's answers are from its teacher's, a scalar: what distillation makes small.

        counts: bool (batch, time), the tokens that count. temperature: both models' scores are divided by it. By default
        the divergence of probabilities, over texts or over those tokens.
        """
        assert output.logits is not None and taught.logits is not None
        found, wanted = output.logits, taught.logits
        if found.dim() == 3:
            found, wanted = found[counts], wanted[counts]
        return divergence(found, wanted, temperature)

    def describe_soft_loss(self, settings: HeadSettings, temperature: float) -> str:
        """Say what soft_loss is, for a card."""
        return told("probabilities", temperature)

    def record(self, feature: Features, row: Output, settings: HeadSettings) -> Any:
        """Give what the metrics need of one feature with a label: what is right beside what was answered, and no more."""
        return None

    def records(self, features: Sequence[Features], model: Model, batch_size: int) -> list[Any] | None:
        """Give the records where answers are written, not read off one pass; None where `record` gives them."""
        return None

    def collapse(self, records: Sequence[Any]) -> list[Any]:
        """Give one record an example where an example has several features: by default they are that already."""
        return list(records)

    def measure(self, records: Sequence[Any]) -> dict[str, float]:
        """Give the task's metrics from the records of all examples."""
        return {}

    def predict(self, inputs: Sequence[Any], model: Model, batch_size: int) -> list[Any]:
        """Give the typed result of each input, in order."""
        features = self.encode(inputs, model)
        return self.interpret(inputs, features, run(features, model, batch_size), model)


class TokenLevelTask(Task):
    """A task that scores every position of a text; labels are int64 (batch, time), -100 at positions that don't count."""

    def output(self, scores: Tensor | None, hidden: Tensor, labels: Tensor | None, settings: HeadSettings) -> Output:
        """The loss is the cross-entropy over the positions that count."""
        assert scores is not None
        loss = None
        if labels is not None:
            loss = F.cross_entropy(scores.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED_LABEL)
        return Output(last_hidden_state=hidden, logits=scores, loss=loss)

    def collate_labels(self, features: Sequence[Features], length: int, settings: HeadSettings) -> Tensor:
        """(batch, time), padding does not count."""
        return torch.tensor([f.label + [IGNORED_LABEL] * (length - len(f.label)) for f in features])

    def weight(self, labels: Tensor) -> int:
        """The positions that count."""
        return int((labels != IGNORED_LABEL).sum())

    def record(self, feature: Features, row: Output, settings: HeadSettings) -> Any:
        """Of the positions that count: how many have the right label, and how many there are."""
        assert row.logits is not None
        label = torch.tensor(feature.label)
        counts = label != IGNORED_LABEL
        return int((row.logits.argmax(-1)[counts] == label[counts]).sum()), int(counts.sum())

    def measure(self, records: Sequence[Any]) -> dict[str, float]:
        """accuracy: the share of the positions that count whose label is right."""
        return {"accuracy": sum(right for right, _ in records) / max(sum(total for _, total in records), 1)}


def tokenizer_of(model: Model) -> Tokenizer:
    """Give the model's tokenizer. Raises TokenizerMissing."""
    if model.tokenizer is None:
        raise TokenizerMissing(str(model.checkpoint.path if model.checkpoint else model.architecture.name))
    return model.tokenizer


def check_texts(inputs: Sequence[Any]) -> None:
    """Refuse inputs that are no texts. Raises InvalidInput."""
    if isinstance(inputs, str):
        raise InvalidInput("One text was given where a list of texts is expected; write [text]")
    for index, text in enumerate(inputs):
        if not isinstance(text, str):
            raise InvalidInput(f"Input {index} is {text!r}; a text is expected")


def check_columns(examples: Sequence[Mapping[str, Any]], columns: Sequence[str], task: str) -> None:
    """Refuse examples that lack a column. Raises InvalidInput."""
    for index, example in enumerate(examples):
        absent = [column for column in columns if example.get(column) is None]
        if absent:
            if absent[0] in example:
                raise InvalidInput(
                    f"Example {index} has nothing (null) as its '{absent[0]}'; leave it out, or fill it in"
                )
            has = ", ".join(map(str, example))
            raise InvalidInput(f"Example {index} has no '{absent[0]}', which '{task}' learns from; it has: {has}")


def check_some_text(texts: Sequence[str]) -> None:
    """Refuse raw texts that are all empty; among others an empty one does no harm. Raises InvalidInput."""
    check_texts(texts)
    if not any(text.strip() for text in texts):
        raise InvalidInput("No text holds anything to learn from: all are empty")


def check_not_empty(examples: Sequence[Mapping[str, Any]], column: str) -> None:
    """Refuse examples whose text is empty. Raises InvalidInput."""
    for index, example in enumerate(examples):
        if isinstance(example[column], str) and not example[column].strip():
            raise InvalidInput(f"Example {index} has an empty '{column}'; leave it out")


def encode_texts(
    texts: Sequence[Any], model: Model, *, words: bool = False, max_length: int | None = None
) -> list[Features]:
    """Encode texts, pairs or lists of words, one feature each, cut at max_length or else the model's longest input."""
    encodings = tokenizer_of(model).encode(texts, max_length=max_length or model.max_length, words=words)
    return [Features(e.ids, e.type_ids, source, e, cut=bool(e.overflowing)) for source, e in enumerate(encodings)]


def with_labels(features: Sequence[Features]) -> list[Features]:
    """Leave out features whose labels count at no position: the loss over a batch of such alone is not a number."""
    return [feature for feature in features if any(label != IGNORED_LABEL for label in feature.label)]


def collate(features: Sequence[Features], pad_token_id: int, device: torch.device) -> dict[str, Tensor]:
    """Pad features on the right to the longest: input_ids, token_type_ids (int64) and attention_mask (bool), (batch, time).

    Where a row holds several texts, documents (int64) says which token is of which, 0 in the padding.
    """
    length = max(len(feature.ids) for feature in features)
    ids = torch.full((len(features), length), pad_token_id)
    types = torch.zeros((len(features), length), dtype=torch.int64)
    mask = torch.zeros((len(features), length), dtype=torch.bool)
    for row, feature in enumerate(features):
        count = len(feature.ids)
        ids[row, :count] = torch.tensor(feature.ids)
        types[row, :count] = torch.tensor(feature.type_ids)
        mask[row, :count] = True
    inputs = {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}
    if any(feature.documents is not None for feature in features):
        documents = mask.long()
        for row, feature in enumerate(features):
            if feature.documents is not None:
                documents[row, : len(feature.ids)] = torch.tensor(feature.documents)
        inputs["documents"] = documents
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def batches(features: Sequence[Features], batch_size: int) -> Iterator[list[int]]:
    """Give the indices of each batch, longest inputs first, so that a batch pads little and memory peaks at once."""
    order = sorted(range(len(features)), key=lambda index: -len(features[index].ids))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def run(features: Sequence[Features], model: Model, batch_size: int) -> list[Output]:
    """Run the model over features and give each its own row of the output, without padding, on CPU."""
    if batch_size < 1:
        raise InvalidInput(f"batch_size is {batch_size}; it would be at least 1")
    rows: list[Output | None] = [None] * len(features)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in batches(features, batch_size):
                chosen = [features[index] for index in batch]
                output = model(**collate(chosen, model.pad_token_id, model.device))
                for index, row in zip(batch, split_rows(output, chosen), strict=True):
                    rows[index] = row
    finally:
        model.train(was_training)
    return [row for row in rows if row is not None]


def split_rows(output: Output, features: Sequence[Features]) -> list[Output]:
    """Give each feature's own row of a batch's output, without padding, float32 on CPU."""
    return [_row(output, row, len(feature.ids)) for row, feature in enumerate(features)]


def _row(output: Output, row: int, length: int) -> Output:
    """Cut one row out of a batch; what has a time axis loses its padding."""

    def cut(tensor: Tensor | None, over_time: bool) -> Tensor | None:
        if tensor is None:
            return None
        return (tensor[row, :length] if over_time else tensor[row]).float().cpu()

    logits_over_time = output.logits is not None and output.logits.dim() == 3
    hidden = cut(output.last_hidden_state, True)
    assert hidden is not None
    return Output(
        last_hidden_state=hidden,
        pooler_output=cut(output.pooler_output, False),
        logits=cut(output.logits, logits_over_time),
        start_logits=cut(output.start_logits, True),
        end_logits=cut(output.end_logits, True),
        encoder_last_hidden_state=cut(output.encoder_last_hidden_state, True),
    )
