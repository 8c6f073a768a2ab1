"""What a training will use and emit, from published figures: the calculation of the ML CO2 Impact calculator.

Source: Lacoste et al. 2019, Quantifying the Carbon Emissions of Machine Learning, https://arxiv.org/abs/1910.09700.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zoo.errors import InvalidInput
from zoo_carbon.figures import Country, Hardware


@dataclass(frozen=True)
class Estimate:
    """What hours of hardware come to.

    count: devices. utilisation: share of the rated power that they draw. pue: what the building uses beside them, as
    the power of all over that of the devices (power usage effectiveness).
    """

    hardware: Hardware
    hours: float
    country: Country
    count: int = 1
    utilisation: float = 1.0
    pue: float = 1.0

    def __post_init__(self) -> None:
        """Raises InvalidInput for what cannot be."""
        for name, value, fits, wanted in (
            ("hours", self.hours, 0 < self.hours < float("inf"), "a number above 0"),
            ("count", self.count, self.count >= 1, "at least 1"),
            ("utilisation", self.utilisation, 0 < self.utilisation <= 1, "a share above 0 and at most 1"),
            ("pue", self.pue, 1 <= self.pue < float("inf"), "at least 1, the devices alone"),
        ):
            if not fits:
                raise InvalidInput(f"{name} is {value:g}; it would be {wanted}")

    @property
    def energy_kwh(self) -> float:
        """Electricity: power x hours x devices x utilisation x PUE."""
        return self.hardware.watts / 1000 * self.hours * self.count * self.utilisation * self.pue

    @property
    def grams(self) -> float:
        """Of CO2 equivalent: electricity x intensity of the grid."""
        return self.energy_kwh * self.country.grams_per_kwh

    def formula(self) -> tuple[str, str]:
        """Give both calculations with their values."""
        energy = (
            f"{self.hardware.watts:g} W x {self.hours:g} h x {self.count} (count) x {self.utilisation:g} "
            f"(utilisation) x {self.pue:g} (PUE) = {self.energy_kwh:.4g} kWh"
        )
        return energy, f"{self.energy_kwh:.4g} kWh x {self.country.grams_per_kwh:g} g/kWh = {weight(self.grams)} CO2eq"

    def facts(self) -> dict[str, Any]:
        """Give all of it as plain values; `comparison.read_run` reads them back."""
        return {
            "hardware": self.hardware.name,
            "watts": self.hardware.watts,
            "hours": self.hours,
            "count": self.count,
            "utilisation": self.utilisation,
            "pue": self.pue,
            "country": self.country.name,
            "grams_per_kwh": self.country.grams_per_kwh,
            "energy_kwh": self.energy_kwh,
            "grams": self.grams,
            "estimated": True,
            "sources": [self.hardware.source, f"{self.country.source}, {self.country.year}"],
        }


def weight(grams: float) -> str:
    """Give a weight for people."""
    for unit, size in (("t", 1e6), ("kg", 1e3), ("g", 1.0)):
        if grams >= size:
            return f"{grams / size:.4g} {unit}"
    return f"{grams * 1000:.3g} mg"
