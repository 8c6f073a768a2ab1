"""Published figures: the rated power of hardware, and the carbon intensity of the grids of countries."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from zoo.errors import InvalidInput


@dataclass(frozen=True)
class Hardware:
    """A device. key: what a user types; watts: its rated power; source: where that is published."""

    key: str
    name: str
    watts: float
    source: str


@dataclass(frozen=True)
class Country:
    """A grid. code: ISO 3166-1, three letters; short: two. grams_per_kwh: of CO2 equivalent, in the year."""

    code: str
    short: str
    name: str
    grams_per_kwh: float
    year: int
    source: str


@cache
def all_hardware() -> Mapping[str, Hardware]:
    """Give the known hardware by key."""
    return {key: Hardware(key, **facts) for key, facts in _read("hardware.toml")["hardware"].items()}


@cache
def all_countries() -> Mapping[str, Country]:
    """Give the known countries by their code of three letters."""
    table = _read("countries.toml")
    return {code: Country(code, source=table["source"], **facts) for code, facts in table["countries"].items()}


def choose_hardware(name: str) -> Hardware:
    """Give hardware by its key or its maker's name, however it is spelt. Raises InvalidInput, with names near to it."""
    by_name = {_plain(word): found for found in all_hardware().values() for word in (found.key, found.name)}
    if (chosen := by_name.get(_plain(name))) is not None:
        return chosen
    near = [found.key for word, found in by_name.items() if _plain(name) and _plain(name) in word]
    near = near or [by_name[word].key for word in get_close_matches(_plain(name), by_name)]
    raise InvalidInput(f"The power of '{name}' is not known{_hint(near)}. All that are: zoo carbon hardware")


def choose_country(name: str) -> Country:
    """Give a country by code or name. Raises InvalidInput, with countries near to it."""
    words = {_plain(word): c for c in all_countries().values() for word in (c.code, c.short, c.name)}
    if (chosen := words.get(_plain(name))) is not None:
        return chosen
    near = [words[word] for word in get_close_matches(_plain(name), words)]
    hint = _hint(f"{country.code} ({country.name})" for country in near)
    raise InvalidInput(f"The grid of '{name}' is not known{hint}. All that are: zoo carbon countries")


def _hint(near: Iterable[str]) -> str:
    names = list(dict.fromkeys(near))[:5]
    return f"; near it: {', '.join(names)}" if names else ""


def _plain(text: str) -> str:
    return "".join(sign for sign in text.casefold() if sign.isalnum() or sign == "+")


def _read(name: str) -> Mapping[str, Any]:
    return tomllib.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))


_world = _read("countries.toml")["world"]
WORLD = Country("world", "", _world["name"], _world["grams_per_kwh"], _world["year"], _world["source"])
