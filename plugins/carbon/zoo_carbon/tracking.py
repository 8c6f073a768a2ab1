"""codecarbon around one training run: quiet, without any network, and honest about what it could not measure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from zoo.configuration import configuration_path, plugin_settings
from zoo.errors import InvalidInput
from zoo.footprint import Footprint
from zoo_carbon.figures import WORLD, choose_country
from zoo_carbon.sessions import EMISSIONS_FILE, Handler, Sessions

COUNTRY_VARIABLE = "CODECARBON_COUNTRY_ISO_CODE"
MEASUREMENTS_PER_WRITE = 1  # codecarbon measures every 15 seconds: a run that is killed loses no more

# How the power of a part is known, by codecarbon's name for what it reads.
MEASURED = {
    "intel_rapl": "measured by its RAPL counters",
    "windows_emi": "measured by its RAPL counters",
    "intel_power_gadget": "measured by Intel Power Gadget",
    "GPU": "measured by the driver's counters (NVML or AMD SMI)",
    "AppleSiliconChip": "measured by powermetrics",
    "Raspberry": "measured by its power circuit",
}
ESTIMATED = {
    "cpu_load": "estimated from its load and rated power, as no RAPL counter can be read",
    "constant": "estimated from its rated power, as no RAPL counter can be read",
    "RAM": "estimated from its size",
}
NOT_COUNTED = "not counted, as no counter of it can be read"


class Tracking:
    """Counts from its making to `finish`. sessions: what is counted, as it is written to the run's folder."""

    def __init__(self, folder: Path | None, training_type: str, device: str, say: Callable[[str], None]) -> None:
        """folder: of the run's files; None for none. device: the torch device type that the model is on.

        say: told what was assumed. Raises RuntimeError where codecarbon cannot begin.
        """
        self._training_type, self._device, self._say = training_type, device, say
        self._source = f"codecarbon {version('codecarbon')}"
        self.sessions = Sessions(folder, self._footprint)
        self._log = _Log()
        self._log.open()
        try:
            self._begin()
        except Exception:
            self._log.close()
            raise

    def _begin(self) -> None:
        from codecarbon import OfflineEmissionsTracker
        from codecarbon.core.config import get_hierarchical_config

        settings: Mapping[str, str] = get_hierarchical_config()  # type: ignore[no-untyped-call]
        self._unplaced = "an unnamed place" if _knows_intensity(settings) else WORLD.name
        # Every way by which codecarbon's own settings could reach the network is closed here.
        self._tracker = OfflineEmissionsTracker(
            country_iso_code=_country(settings, self._say),
            output_dir=".",
            output_file=EMISSIONS_FILE,
            output_methods=[],
            output_handlers=[Handler(self.sessions.take)],
            emissions_endpoint=None,
            electricitymaps_api_token="",
            allow_multiple_runs=True,
            api_call_interval=MEASUREMENTS_PER_WRITE,
        )
        self._tracker.start()
        if getattr(self._tracker, "_start_time", None) is None:
            raise RuntimeError(f"codecarbon does not begin ({self._log.reason})")

    def finish(self) -> Footprint:
        """End counting, write the files, and give the footprint of all sessions of the run. Raises RuntimeError."""
        try:
            self._tracker.stop()
        finally:
            self._log.close()
        footprint = self.sessions.footprint
        if footprint is None or getattr(self._tracker, "final_emissions_data", None) is None:
            raise RuntimeError(f"codecarbon gives no figures ({self._log.reason})")
        if self.sessions.unwritten is not None:
            self._say(f"carbon: {EMISSIONS_FILE} is not written: {self.sessions.unwritten}")
        return footprint

    def decide(self, step: int) -> None:
        """Learn from the first step taken whether the run goes on from earlier sessions."""
        if self.sessions.decided:
            return
        try:
            self.sessions.decide(resumed=step > 1)
        except InvalidInput as error:
            self._say(f"carbon: the earlier sessions of this run are not counted in: {error}")

    def _footprint(self, total: Any, grams: float, energy_kwh: float, seconds: float) -> Footprint:
        """Say what sums over all sessions are. total: codecarbon's record of this session."""
        methods = {_part(hardware): _method(hardware) for hardware in self._tracker._hardware}
        if self._device != "cpu" and "GPU" not in methods:
            methods["GPU"] = NOT_COUNTED
        processor = f"{total.cpu_model} ({total.cpu_count:.0f} threads)"
        memory = f"{total.ram_total_size:.0f} GB memory"
        return Footprint(
            grams=grams,
            energy_kwh=energy_kwh,
            seconds=seconds,
            source=self._source,
            training_type=self._training_type,
            hardware=", ".join(part for part in (total.gpu_model, processor, memory) if part),
            location=", ".join(part for part in (total.region, total.country_name) if part) or self._unplaced,
            methods=methods,
            estimated=any(method not in MEASURED.values() for part, method in methods.items() if part != "memory"),
        )


def _country(settings: Mapping[str, str], say: Callable[[str], None]) -> str | None:
    """Give the country whose grid counts: of codecarbon's settings, else of Zoo's, else None for the world.

    settings: codecarbon's own, from its files and from the environment.
    """
    named = settings.get("country_iso_code") or plugin_settings("carbon").get("country")
    problem = "no country is set"
    if named is not None:
        try:
            return choose_country(str(named)).code
        except InvalidInput as error:
            problem = str(error)
    if not _knows_intensity(settings):
        say(
            f"carbon: {problem}; counting with {WORLD.name}, {WORLD.grams_per_kwh:g} g/kWh. To set it: "
            f'{COUNTRY_VARIABLE}=DEU, or country = "DEU" under [carbon] in {configuration_path()}'
        )
    return None


def _knows_intensity(settings: Mapping[str, str]) -> bool:
    """Tell whether codecarbon's settings say the grid's intensity in another way than by country."""
    return bool(settings.keys() & {"cloud_provider", "force_carbon_intensity_g_co2e_kwh"})


def _part(hardware: Any) -> str:
    chip = getattr(hardware, "chip_part", None) or type(hardware).__name__
    return {"CPU": "processor", "RAM": "memory"}.get(chip, chip)


def _method(hardware: Any) -> str:
    kind = getattr(hardware, "_mode", type(hardware).__name__)
    return MEASURED.get(kind) or ESTIMATED.get(kind) or f"codecarbon's {kind}"


class _Log(logging.Filter):
    """Keeps codecarbon's log off the terminal. reason: what it said first that went wrong; the rest follows from it."""

    _first: str | None = None

    @property
    def reason(self) -> str:
        return self._first or "it does not say why"

    def open(self) -> None:
        logging.getLogger("codecarbon").addFilter(self)

    def close(self) -> None:
        logging.getLogger("codecarbon").removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Let nothing pass."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            self._first = self._first or ": ".join(word for word in (type(error).__name__, str(error)) if word)
        elif record.levelno >= logging.ERROR:
            self._first = self._first or record.getMessage()
        return False
