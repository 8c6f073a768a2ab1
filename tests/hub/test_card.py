"""What a card says of emissions."""

from typing import Any

import pytest
from huggingface_hub import ModelCard

from zoo.footprint import Footprint
from zoo.hub.card import CardFacts, write_card

MEASURED = Footprint(
    grams=4.2,
    energy_kwh=0.0112,
    seconds=812.4,
    source="codecarbon 3.3.2",
    training_type="fine-tuning",
    hardware="1 x NVIDIA T4",
    location="Germany",
    methods={"processor": "measured by its RAPL counters", "memory": "estimated from its size"},
    estimated=False,
)


def card_of(**facts: Any) -> tuple[Any, str]:
    """The record of emissions in a card's metadata, and its last paragraph."""
    text = write_card(CardFacts("me/words", "bert", "text-classification", 11, **facts))
    return ModelCard(text).data.to_dict().get("co2_eq_emissions"), text.rstrip("\n").rpartition("\n\n")[2]


def test_a_measured_footprint_is_told_with_all_that_the_hub_records() -> None:
    record, told = card_of(emissions=0.0042, footprint=MEASURED)
    assert record == {
        "emissions": 4.2,
        "source": "codecarbon 3.3.2",
        "training_type": "fine-tuning",
        "geographical_location": "Germany",
        "hardware_used": "1 x NVIDIA T4",
    }
    assert told == (
        "Training on 1 x NVIDIA T4 emitted 4.2 g of CO2 equivalent from 0.0112 kWh in 812 s, at 375 g/kWh (Germany). "
        "This was measured (codecarbon 3.3.2; processor: measured by its RAPL counters; memory: estimated from its size)."
    )


def test_a_plugin_that_tells_kilograms_alone_is_taken_at_its_word_and_no_further() -> None:
    assert card_of(emissions=0.25) == ({"emissions": 250.0}, "Training emitted 250 g of CO2 equivalent.")


def test_where_nothing_was_counted_nothing_is_said() -> None:
    record, told = card_of()
    assert (record, told) == (
        None,
        '## Use\n\n```python\nimport zoo\n\nmodel = zoo.load("me/words")\n```'.rpartition("\n\n")[2],
    )


@pytest.mark.parametrize(("energy_kwh", "intensity"), [(0.0, 0.0), (0.5, 8.4)])
def test_the_intensity_is_that_of_the_figures(energy_kwh: float, intensity: float) -> None:
    assert Footprint(4.2, energy_kwh, 1, "", "", "", "").grams_per_kwh == intensity
