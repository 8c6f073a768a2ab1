"""Heads: what turns the last hidden state into a task's answer. All are called as head(hidden, input_ids, attention_mask)."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from zoo.layers.activations import ACTIVATIONS
from zoo.layers.linear import Linear


class Pooler(nn.Module):
    """The first token's hidden state through a dense layer and an activation (Devlin et al. 2018, section 3.1: tanh)."""

    def __init__(self, hidden_size: int, activation: str = "tanh") -> None:
        super().__init__()
        self.dense = Linear(hidden_size, hidden_size)
        self.activation = ACTIVATIONS[activation]

    def forward(self, hidden: Tensor, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """hidden: (batch, time, hidden). Returns (batch, hidden)."""
        return self.activation(self.dense(first_token(hidden, attention_mask)))


class PooledClassifier(nn.Module):
    """A linear layer over the pooled state: one score per label and text."""

    def __init__(
        self,
        *,
        hidden_size: int,
        num_labels: int,
        dropout: float,
        activation: str = "tanh",
        dropout_before: float = 0.0,
    ) -> None:
        """dropout: between pooler and classifier. activation: the pooler's. dropout_before: of what the pooler reads."""
        super().__init__()
        self.dropout_before = nn.Dropout(dropout_before)
        self.pooler = Pooler(hidden_size, activation)
        self.dropout = nn.Dropout(dropout)
        self.classifier = Linear(hidden_size, num_labels)

    def forward(self, hidden: Tensor, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """hidden: (batch, time, hidden). Returns logits (batch, labels)."""
        first = self.dropout_before(first_token(hidden, attention_mask))
        pooled = self.pooler(first[:, None], input_ids, None)
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits


class TokenClassifier(nn.Module):
    """A linear layer over every hidden state: one score per label and token."""

    def __init__(self, *, hidden_size: int, num_labels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = Linear(hidden_size, num_labels)

    def forward(self, hidden: Tensor, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """hidden: (batch, time, hidden). Returns logits (batch, time, labels)."""
        logits: Tensor = self.classifier(self.dropout(hidden))
        return logits


class TransformedClassifier(nn.Module):
    """A linear layer over states that went through a dense layer, an activation and a norm (Warner et al. 2024)."""

    def __init__(
        self,
        *,
        hidden_size: int,
        num_labels: int,
        activation: str,
        norm: nn.Module,
        dropout: float,
        dense_bias: bool = True,
        pooling: Literal["cls", "mean"] | None = None,
    ) -> None:
        """dropout: before the last layer. pooling: None for one score per label and token; else per label and text, from
        the first token's state or from the mean of all.
        """
        super().__init__()
        self.pooling = pooling
        self.dense = Linear(hidden_size, hidden_size, bias=dense_bias)
        self.activation = ACTIVATIONS[activation]
        self.norm = norm
        self.dropout = nn.Dropout(dropout)
        self.classifier = Linear(hidden_size, num_labels)

    def forward(self, hidden: Tensor, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """hidden: (batch, time, hidden). Returns logits (batch, time, labels), or (batch, labels) where it pools."""
        if self.pooling is not None:
            hidden = (first_token if self.pooling == "cls" else mean_token)(hidden, attention_mask)
        logits: Tensor = self.classifier(self.dropout(self.norm(self.activation(self.dense(hidden)))))
        return logits


class MaskedLanguageModel(nn.Module):
    """A transformed hidden state scored against every token of the vocabulary (Devlin et al. 2018, task #1)."""

    def __init__(
        self,
        *,
        hidden_size: int,
        tokens: nn.Embedding,
        activation: str,
        norm: nn.Module,
        tied: bool,
        bias: bool = True,
        dense_bias: bool = True,
        bias_twice: bool = True,
    ) -> None:
        """tokens: the backbone's token embedding, whose weight the decoder shares if `tied`. norm: of its width.

        bias: of the decoder. bias_twice: whether checkpoints name it a second time beside the decoder; only tied ones
        hold one value for both.
        """
        super().__init__()
        vocab_size, embedding_size = tokens.weight.shape
        self.dense = Linear(hidden_size, embedding_size, bias=dense_bias)
        self.activation = ACTIVATIONS[activation]
        self.norm = norm
        self.bias = nn.Parameter(torch.empty(vocab_size)) if bias_twice else None
        self.decoder = Linear(embedding_size, vocab_size, bias=bias)
        if tied:
            self.decoder.weight = tokens.weight
            self.decoder.bias = self.decoder.bias if self.bias is None else self.bias

    def forward(self, hidden: Tensor, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """hidden: (batch, time, hidden). Returns logits (batch, time, vocab)."""
        logits: Tensor = self.decoder(self.norm(self.activation(self.dense(hidden))))
        return logits


class LanguageModel(nn.Module):
    """Each hidden state scored against every token of the vocabulary (Radford et al. 2018, eq. 2)."""

    def __init__(
        self,
        *,
        tokens: nn.Embedding,
        tied: bool,
        bias: bool = False,
        scale: float = 1.0,
        softcap: float | None = None,
        fixed_bias: bool = False,
    ) -> None:
        """tokens: the backbone's token embedding, whose weight this shares if `tied`. scale: of the hidden states.

        softcap: logits s become softcap·tanh(s / softcap) (Gemma Team 2024). fixed_bias: a bias (1, vocab) that
        checkpoints carry and training leaves alone (Lewis et al. 2019, BART's `final_logits_bias`).
        """
        super().__init__()
        vocab_size, hidden_size = tokens.weight.shape
        self.output = Linear(hidden_size, vocab_size, bias=bias)
        if tied:
            self.output.weight = tokens.weight
        self.fixed_bias = nn.Parameter(torch.empty(1, vocab_size), requires_grad=False) if fixed_bias else None
        self.scale = scale
        self.softcap = softcap

    def initial_values(self) -> Mapping[str, Tensor]:
        """See zoo.layers.initialization."""
        return {} if self.fixed_bias is None else {"fixed_bias": torch.zeros(self.fixed_bias.shape)}

    def forward(self, hidden: Tensor, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """hidden: (batch, time, hidden). Returns logits (batch, time, vocab)."""
        logits: Tensor = self.output(hidden if self.scale == 1.0 else hidden * self.scale)
        if self.fixed_bias is not None:
            logits = logits + self.fixed_bias
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)


class LastTokenClassifier(nn.Module):
    """A linear layer over the last token's state, the only one that has seen the whole text: one score per label."""

    def __init__(self, *, hidden_size: int, num_labels: int, bias: bool = False) -> None:
        super().__init__()
        self.classifier = Linear(hidden_size, num_labels, bias=bias)

    def forward(self, hidden: Tensor, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """hidden: (batch, time, hidden). Returns logits (batch, labels)."""
        logits: Tensor = self.classifier(last_token(hidden, attention_mask))
        return logits


class EndClassifier(nn.Module):
    """Two layers over the state at the last end-of-text token (Lewis et al. 2019, section 3.1): one score per label."""

    def __init__(self, *, hidden_size: int, num_labels: int, dropout: float, end_token_id: int) -> None:
        """dropout: before each of the layers. A text without the token is read at its last one."""
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense = Linear(hidden_size, hidden_size)
        self.classifier = Linear(hidden_size, num_labels)
        self.end_token_id = end_token_id

    def forward(self, hidden: Tensor, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """hidden: (batch, time, hidden); input_ids: (batch, time). Returns logits (batch, labels)."""
        seen = torch.ones_like(input_ids) if attention_mask is None else attention_mask.long()
        ends = seen * (input_ids == self.end_token_id)
        state = last_token(hidden, torch.where(ends.any(-1, keepdim=True), ends, seen))
        logits: Tensor = self.classifier(self.dropout(torch.tanh(self.dense(self.dropout(state)))))
        return logits


def last_token(hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Give each row's hidden state at its last attended token: (batch, hidden)."""
    if attention_mask is None:
        return hidden[:, -1]
    last = hidden.shape[1] - 1 - attention_mask.long().flip(-1).argmax(-1)
    return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]


def first_token(hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Give each row's hidden state at its first attended token: (batch, hidden)."""
    if attention_mask is None:
        return hidden[:, 0]
    first = attention_mask.long().argmax(-1)
    return hidden[torch.arange(hidden.shape[0], device=hidden.device), first]


def mean_token(hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Give the mean of each row's hidden states at its attended tokens: (batch, hidden)."""
    if attention_mask is None:
        return hidden.mean(1)
    attended = attention_mask.long()[:, :, None]
    return (hidden * attended).sum(1) / attended.sum(1).clamp(min=1)
