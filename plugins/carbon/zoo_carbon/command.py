"""`zoo carbon`: what a training will emit, what is known for that, and what adapting saves."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click

import zoo
from zoo.cli.output import json_option, print_json, print_table
from zoo.configuration import plugin_settings
from zoo.errors import InvalidInput
from zoo_carbon.comparison import Emitted, compare
from zoo_carbon.estimate import Estimate, weight
from zoo_carbon.figures import all_countries, all_hardware, choose_country, choose_hardware
from zoo_carbon.tracking import COUNTRY_VARIABLE


@click.group(short_help="What training emits.")
def carbon() -> None:
    """Estimate what a training will use and emit, and compare runs.

    What a training does emit is counted while it runs, and kept in emissions.csv beside its result.
    """


@carbon.command("estimate")
@click.option("--hardware", required=True, metavar="NAME", help="A device; see zoo carbon hardware.")
@click.option("--hours", required=True, type=float, help="How long it runs.")
@click.option("--country", metavar="CODE", help="Whose grid; see zoo carbon countries. [default: the configuration's]")
@click.option("--count", type=int, default=1, show_default=True, help="How many such devices.")
@click.option("--utilisation", type=float, default=1.0, show_default=True, help="Share of its rated power it draws.")
@click.option("--pue", type=float, default=1.0, show_default=True, help="Power of the building over that of devices.")
@json_option
def estimate_command(
    hardware: str, hours: float, country: str | None, count: int, utilisation: float, pue: float, as_json: bool
) -> None:
    """Estimate a training's electricity and emissions from published power and grid figures.

    \b
    Example: zoo carbon estimate --hardware a100-sxm --hours 12 --count 8 --country DEU
    """
    grid = choose_country(country or _usual_country())
    found = Estimate(choose_hardware(hardware), hours, grid, count, utilisation, pue)
    if as_json:
        print_json(found.facts())
        return
    click.echo(f"{count} x {found.hardware.name} for {hours:g} h in {grid.name}: {weight(found.grams)} CO2eq")
    for line in found.formula():
        click.echo(f"  {line}")
    for source in found.facts()["sources"]:
        click.echo(f"source: {source}")


@carbon.command("compare")
@click.argument("pretraining", type=click.Path(path_type=Path))
@click.argument("adaptation", type=click.Path(path_type=Path))
@json_option
def compare_command(pretraining: Path, adaptation: Path, as_json: bool) -> None:
    """Say how many adaptations come to one pretraining.

    Each run is an emissions.csv, the folder with it, or a file that `zoo carbon estimate --json` was saved in.

    \b
    Example: zoo carbon estimate --hardware v100-sxm2 --count 64 --hours 79 --country USA --json > bert.json
             zoo carbon compare bert.json ./my-classifier
    """
    found = compare(pretraining, adaptation)
    if as_json:
        print_json(asdict(found) | {"energy_ratio": found.energy_ratio, "grams_ratio": found.grams_ratio})
        return
    rows = [_row("pretraining", found.pretraining), _row("adaptation", found.adaptation)]
    ratios = (found.energy_ratio, found.grams_ratio)
    print_table(("", "KWH", "CO2EQ", "FROM"), [*rows, ("ratio", *(f"{ratio:.4g}" for ratio in ratios), "")], "")


@carbon.command("hardware")
@json_option
def hardware_command(as_json: bool) -> None:
    """List the hardware whose power is known.

    \b
    Example: zoo carbon hardware
    """
    known = all_hardware().values()
    if as_json:
        print_json([asdict(found) for found in known])
        return
    rows = [(found.key, found.name, f"{found.watts:g} W", found.source) for found in known]
    print_table(("NAME", "DEVICE", "POWER", "SOURCE"), rows, "")


@carbon.command("countries")
@json_option
def countries_command(as_json: bool) -> None:
    """List the countries whose grid is known.

    \b
    Example: zoo carbon countries
    """
    known = sorted(all_countries().values(), key=lambda country: country.name)
    if as_json:
        print_json([asdict(found) for found in known])
        return
    rows = [(found.code, found.short, found.name, f"{found.grams_per_kwh:.0f} g/kWh", found.year) for found in known]
    print_table(("CODE", "SHORT", "COUNTRY", "INTENSITY", "YEAR"), rows, "")
    click.echo(f"source: {known[0].source}", err=True)


def _usual_country() -> str:
    """Give the country that counting takes too. Raises InvalidInput where none is set."""
    named = os.environ.get(COUNTRY_VARIABLE) or plugin_settings("carbon").get("country")
    if named is None:
        raise InvalidInput("No country is named, and none is configured. Try: --country DEU, or zoo carbon countries")
    return str(named)


def _row(what: str, run: Emitted) -> tuple[str, str, str, str]:
    return what, f"{run.energy_kwh:.4g}", weight(run.grams), run.name


@zoo.hookimpl
def zoo_commands(cli: click.Group) -> None:
    """Add `zoo carbon`."""
    cli.add_command(carbon)
