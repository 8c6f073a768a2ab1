"""LoRA's settings (Hu et al. 2021, https://arxiv.org/abs/2106.09685): small matrices beside large ones that stay as they are."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field


class LoraConfig(BaseModel):
    """Which matrices get a low-rank neighbour, and how large it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(8, ge=1, description="Rank of what is learnt beside each matrix")
    alpha: float = Field(16.0, gt=0, description="What is learnt is added times alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout of what the added matrices read")
    targets: tuple[str, ...] = Field(
        ("attention.query", "attention.value"),
        description="Matrices of each layer by their name in it, such as attention.query or feedforward.up",
    )
    use_dora: bool = Field(
        False, description="DoRA: learn the direction and the length of each row apart (Liu et al. 2024)"
    )
    use_rslora: bool = Field(
        False, description="Add what is learnt times alpha / √rank, for high ranks (Kalajdzievski 2023)"
    )
    merge: bool = Field(False, description="Add what was learnt to the weights at the end: an ordinary checkpoint")

    @property
    def scale(self) -> float:
        """The factor of what is learnt."""
        return self.alpha / divisor(self.rank, self.use_rslora)


def divisor(rank: int, stabilised: bool) -> float:
    """Give what alpha is divided by: the rank, or its root where the scale is rank-stabilised."""
    return math.sqrt(rank) if stabilised else rank
