"""Heads: what turns the last hidden state into a task's answer. All are called as head(hidden, input_ids, attention_mask)."""

import torch
from torch import Tensor, nn

from zoo.layers.activations import ACTIVATIONS


class Pooler(nn.Module):
    """The first token's hidden state through a dense layer and an activation (Devlin et al. 2018, section 3.1: tanh)."""

    def __init__(self, hidden_size: int, activation: str = "tanh") -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
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
        self.classifier = nn.Linear(hidden_size, num_labels)

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
        self.classifier = nn.Linear(hidden_size, num_labels)

    def forward(self, hidden: Tensor, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """hidden: (batch, time, hidden). Returns logits (batch, time, labels)."""
        logits: Tensor = self.classifier(self.dropout(hidden))
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
        bias_twice: bool = True,
    ) -> None:
        """tokens: the backbone's token embedding, whose weight the decoder shares if `tied`. norm: of its width.

        bias_twice: whether checkpoints name the bias a second time beside the decoder; only tied ones hold one value
        for both.
        """
        super().__init__()
        vocab_size, embedding_size = tokens.weight.shape
        self.dense = nn.Linear(hidden_size, embedding_size)
        self.activation = ACTIVATIONS[activation]
        self.norm = norm
        self.bias = nn.Parameter(torch.empty(vocab_size)) if bias_twice else None
        self.decoder = nn.Linear(embedding_size, vocab_size)
        if tied:
            self.decoder.weight = tokens.weight
            self.decoder.bias = self.decoder.bias if self.bias is None else self.bias

    def forward(self, hidden: Tensor, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """hidden: (batch, time, hidden). Returns logits (batch, time, vocab)."""
        logits: Tensor = self.decoder(self.norm(self.activation(self.dense(hidden))))
        return logits


def first_token(hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Give each row's hidden state at its first attended token: (batch, hidden)."""
    if attention_mask is None:
        return hidden[:, 0]
    first = attention_mask.long().argmax(-1)
    return hidden[torch.arange(hidden.shape[0], device=hidden.device), first]
