"""The footprint of a training run: what it used, what that emitted, and how both are known."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Footprint:
    """The electricity that a training run used, and the CO2 equivalent that it emitted.

    grams: of CO2 equivalent. seconds: how long was counted. source: what counted. training_type: "pre-training" or
    "fine-tuning", as the Hub writes it. hardware: what was counted. location: whose grid the grams are those of.
    methods: for each part of the hardware, how its power is known. estimated: whether a part beside the memory, which
    has no counter anywhere, has none that could be read.
    """

    grams: float
    energy_kwh: float
    seconds: float
    source: str
    training_type: str
    hardware: str
    location: str
    methods: Mapping[str, str] = field(default_factory=dict)
    estimated: bool = True

    @property
    def grams_per_kwh(self) -> float:
        """The grid's intensity."""
        return self.grams / self.energy_kwh if self.energy_kwh else 0.0

    def __str__(self) -> str:
        """Give it as sentences."""
        known = "".join(f"; {part}: {method}" for part, method in self.methods.items())
        return (
            f"{self.grams:.3g} g of CO2 equivalent from {self.energy_kwh:.3g} kWh in {self.seconds:.3g} s, at "
            f"{self.grams_per_kwh:.3g} g/kWh ({self.location}). "
            f"{'This is an estimate' if self.estimated else 'This was measured'} ({self.source}{known})."
        )
