"""Rotary positions (Su et al. 2021, https://arxiv.org/abs/2104.09864), and the ways to stretch them to longer texts."""

import math
from typing import Literal

import torch
from torch import Tensor

Scaling = Literal["default", "linear", "dynamic", "yarn", "llama3"]


class Rotary:
    """Cosines and sines of positions. No module: it has neither parameters nor buffers, only arithmetic.

    linear: positions divided by `factor` (Chen et al. 2023, https://arxiv.org/abs/2306.15595).
    dynamic: a base that grows with the text once it is longer than `original_length` ("NTK-aware").
    yarn: slow dimensions stretched, fast ones kept, scores sharpened (Peng et al. 2023, https://arxiv.org/abs/2309.00071).
    llama3: the same idea with one ramp over wavelengths (Llama Team 2024, https://arxiv.org/abs/2407.21783).
    """

    def __init__(
        self,
        dim: int,
        base: float,
        *,
        scaling: Scaling = "default",
        factor: float = 1.0,
        original_length: int = 0,
        low_frequency_factor: float = 1.0,
        high_frequency_factor: float = 4.0,
        fast_rotations: float = 32.0,
        slow_rotations: float = 1.0,
        whole_dimensions: bool = True,
        sharpening: float = 1.0,
        upcast: bool = False,
    ) -> None:
        """dim: how many of a head's dimensions are rotated. original_length: the longest text of pretraining, in tokens.

        low_frequency_factor, high_frequency_factor: llama3's ramp, in wavelengths per original_length.
        fast_rotations, slow_rotations: yarn's ramp, in rotations within original_length; whole_dimensions: whether its
        ends are rounded outwards. sharpening: yarn's factor of cosines and sines. upcast: whether heads turn in float32
        in any dtype, and are rounded once.
        """
        self.dim, self.base = dim, base
        self.scaling, self.factor, self.original_length = scaling, factor, original_length
        self.low_frequency_factor, self.high_frequency_factor = low_frequency_factor, high_frequency_factor
        self.fast_rotations, self.slow_rotations = fast_rotations, slow_rotations
        self.whole_dimensions, self.sharpening, self.upcast = whole_dimensions, sharpening, upcast
        self._frequencies = {"cpu": self._scaled(_frequencies(base, dim))}  # real even where modules are built on meta

    @property
    def depends_on_length(self) -> bool:
        """Whether a longer text also turns its first positions differently, so that no rotated key can be kept."""
        return self.scaling == "dynamic"

    def __call__(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Give cosines and sines, (batch or 1, 1, time, dim), rounded to dtype; angles are taken in float32.

        They are float32 tensors where heads turn in that.
        positions: int64 (batch or 1, time); with dynamic scaling all of the text's, from the first on.
        """
        if self.depends_on_length:
            frequencies = self._stretched(positions.amax(-1, keepdim=True) + 1)[:, None, :]
        else:
            frequencies = self._on(positions.device)[None, None, :]
        angles = positions[:, :, None].float() * frequencies
        angles = torch.cat([angles, angles], -1)[:, None]
        cosines, sines = (angles.cos() * self.sharpening).to(dtype), (angles.sin() * self.sharpening).to(dtype)
        return (cosines.float(), sines.float()) if self.upcast else (cosines, sines)

    def _on(self, device: torch.device) -> Tensor:
        """Give the frequencies, moved once a device."""
        if str(device) not in self._frequencies:
            self._frequencies[str(device)] = self._frequencies["cpu"].to(device)
        return self._frequencies[str(device)]

    def _scaled(self, frequencies: Tensor) -> Tensor:
        if self.scaling == "linear":
            return frequencies / self.factor
        if self.scaling == "llama3":
            wavelength = 2 * math.pi / frequencies
            share = self.original_length / wavelength - self.low_frequency_factor
            kept = (share / (self.high_frequency_factor - self.low_frequency_factor)).clamp(0, 1)
            return (1 - kept) * frequencies / self.factor + kept * frequencies
        if self.scaling == "yarn":
            first, last = (self._dimension_of(rotations) for rotations in (self.fast_rotations, self.slow_rotations))
            if self.whole_dimensions:
                first, last = math.floor(first), math.ceil(last)
            first, last = max(first, 0), min(last, self.dim - 1)
            ramp = torch.arange(self.dim // 2, dtype=torch.float32, device="cpu")
            stretched = ((ramp - first) / (last - first or 0.001)).clamp(0, 1)
            return frequencies / self.factor * stretched + frequencies * (1 - stretched)
        return frequencies

    def _dimension_of(self, rotations: float) -> float:
        """Give the dimension that turns so many times within the original length (Peng et al. 2023, section 3.2)."""
        return self.dim * math.log(self.original_length / (rotations * 2 * math.pi)) / (2 * math.log(self.base))

    def _stretched(self, length: Tensor) -> Tensor:
        """Give the frequencies for texts of these lengths, (batch or 1, 1) -> (batch or 1, dim / 2)."""
        length = length.clamp(min=self.original_length)
        growth = self.factor * length / self.original_length - (self.factor - 1)
        base = self.base * growth ** (self.dim / (self.dim - 2))
        exponents = torch.arange(0, self.dim, 2, device=length.device).float() / self.dim
        return 1.0 / base**exponents


def _frequencies(base: float, dim: int) -> Tensor:
    """Give base^(-2i/dim) in float32, the precision that checkpoints were trained with: (dim / 2), on CPU."""
    return 1.0 / (base ** (torch.arange(0, dim, 2, device="cpu").float() / dim))


def rotate(heads: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each head's first dimensions, in pairs of one from their first half and one from their second.

    heads: (batch, heads, time, head_dim); rotary: cosines and sines, (batch or 1, 1, time, rotary_dim).
    """
    cosines, sines = rotary
    dim = cosines.shape[-1]
    turned, rest = heads[..., :dim], heads[..., dim:]
    first, second = turned.chunk(2, -1)
    turned = (turned * cosines + torch.cat([-second, first], -1) * sines).to(heads.dtype)
    return turned if rest.shape[-1] == 0 else torch.cat([turned, rest], -1)
