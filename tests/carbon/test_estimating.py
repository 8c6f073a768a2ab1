"""What a training will emit, by published figures; and what adapting saves."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.carbon.conftest import Train
from zoo.errors import InvalidInput
from zoo_carbon.estimate import Estimate, weight
from zoo_carbon.figures import WORLD, all_countries, all_hardware, choose_country, choose_hardware

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `zoo carbon` with arguments."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "zoo.cli.main", "carbon", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "100"})

    return run


def test_an_estimate_shows_its_calculation_and_its_sources(run: Run) -> None:
    options = ("--count", "8", "--utilisation", "0.75", "--pue", "1.2")
    done = run("estimate", "--hardware", "a100-sxm", "--hours", "12", "--country", "DE", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "8 x NVIDIA A100 SXM, 40 or 80 GB for 12 h in Germany: 13.17 kg CO2eq\n"
        "  400 W x 12 h x 8 (count) x 0.75 (utilisation) x 1.2 (PUE) = 34.56 kWh\n"
        "  34.56 kWh x 380.95 g/kWh = 13.17 kg CO2eq\n"
        "source: NVIDIA A100 data sheet\n"
        "source: Our World in Data (Ember; Energy Institute), as in codecarbon 3.3.2, 2023\n"
    )


def test_an_estimate_is_given_as_json_too(run: Run) -> None:
    done = run("estimate", "--hardware", "NVIDIA T4", "--hours", "2.5", "--country", "france", "--json")
    found = json.loads(done.stdout)
    assert found.pop("energy_kwh") == pytest.approx(0.175)
    assert found.pop("grams") == pytest.approx(0.175 * 56.039)
    assert found == {
        "hardware": "NVIDIA T4",
        "watts": 70,
        "hours": 2.5,
        "count": 1,
        "utilisation": 1.0,
        "pue": 1.0,
        "country": "France",
        "grams_per_kwh": 56.039,
        "estimated": True,
        "sources": [
            "NVIDIA T4 data sheet",
            "Our World in Data (Ember; Energy Institute), as in codecarbon 3.3.2, 2023",
        ],
    }


def test_the_country_is_that_of_the_configuration_where_none_is_named(run: Run, tmp_path: Path) -> None:
    asked = ("estimate", "--hardware", "t4", "--hours", "1")
    none = run(*asked)
    assert (none.returncode, none.stderr) == (
        1,
        "Error: No country is named, and none is configured. Try: --country DEU, or zoo carbon countries\n",
    )
    (tmp_path / "config.toml").write_text('[carbon]\ncountry = "SWE"\n', encoding="utf-8")
    assert run(*asked).stdout.startswith("1 x NVIDIA T4 for 1 h in Sweden: 2.849 g CO2eq\n")


@pytest.mark.parametrize(
    ("hardware", "country", "message"),
    [
        (
            "a100",
            "DEU",
            "Error: The power of 'a100' is not known; near it: a100-sxm, a100-pcie-80gb, a100-pcie-40gb. "
            "All that are: zoo carbon hardware\n",
        ),
        (
            "rtx4900",
            "DEU",
            "Error: The power of 'rtx4900' is not known; near it: rtx-4090, rtx-4080, rtx-4070. "
            "All that are: zoo carbon hardware\n",
        ),
        (
            "t4",
            "Germny",
            "Error: The grid of 'Germny' is not known; near it: DEU (Germany). All that are: zoo carbon countries\n",
        ),
        ("zx81", "DEU", "Error: The power of 'zx81' is not known. All that are: zoo carbon hardware\n"),
    ],
)
def test_a_name_that_is_not_known_is_refused_with_those_near_it(
    hardware: str, country: str, message: str, run: Run
) -> None:
    done = run("estimate", "--hardware", hardware, "--hours", "1", "--country", country)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hours": 0.0}, "hours is 0; it would be a number above 0"),
        ({"hours": float("nan")}, "hours is nan; it would be a number above 0"),
        ({"hours": float("inf")}, "hours is inf; it would be a number above 0"),
        ({"count": 0}, "count is 0; it would be at least 1"),
        ({"utilisation": 75.0}, "utilisation is 75; it would be a share above 0 and at most 1"),
        ({"pue": 0.9}, "pue is 0.9; it would be at least 1, the devices alone"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Estimate(choose_hardware("t4"), **{"hours": 1.0, "country": choose_country("DEU"), **wrong})  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_grids_are_those_that_codecarbon_counts_with() -> None:
    own = distribution("codecarbon")
    theirs = json.loads(
        Path(str(own.locate_file("codecarbon/data/private_infra/global_energy_mix.json"))).read_text("utf-8")
    )
    known = {code: (c.name, c.grams_per_kwh, c.year) for code, c in all_countries().items()}
    assert known == {
        code: (facts["country_name"], facts["carbon_intensity"], facts["year"])
        for code, facts in theirs.items()
        if facts["carbon_intensity"] > 0
    }
    by_source = json.loads(
        Path(str(own.locate_file("codecarbon/data/private_infra/carbon_intensity_per_source.json"))).read_text("utf-8")
    )
    assert by_source["world_average"] == WORLD.grams_per_kwh
    assert len({country.short for country in all_countries().values()}) == len(all_countries())


def test_processors_have_the_power_that_codecarbon_knows_of() -> None:
    path = Path(str(distribution("codecarbon").locate_file("codecarbon/data/hardware/cpu_power.csv")))
    with path.open(encoding="utf-8", newline="") as file:
        theirs = {row["Name"]: row["TDP"] for row in csv.DictReader(file)}
    ours = {found.name.partition(",")[0]: found.watts for found in all_hardware().values()}
    shared = ours.keys() & theirs.keys()
    assert len(shared) >= 12
    assert {name: ours[name] for name in shared} == {name: float(theirs[name]) for name in shared}


def test_every_device_has_a_source_and_is_found_by_both_its_names() -> None:
    for found in all_hardware().values():
        assert found.source and 50 <= found.watts <= 1000
        assert choose_hardware(found.key) is found
        assert choose_hardware(found.name.upper()) is found


def test_what_is_known_is_listed(run: Run) -> None:
    hardware = run("hardware").stdout.splitlines()
    assert hardware[0].split() == ["NAME", "DEVICE", "POWER", "SOURCE"]
    assert ["h100-sxm", "NVIDIA H100 SXM", "700 W", "NVIDIA H100 data sheet"] in [
        re.split(" {2,}", line) for line in hardware
    ]
    assert len(hardware) == len(all_hardware()) + 1
    countries = run("countries")
    assert ["DEU", "DE", "Germany", "381 g/kWh", "2023"] in [
        re.split(" {2,}", line) for line in countries.stdout.splitlines()
    ]
    assert len(countries.stdout.splitlines()) == len(all_countries()) + 1
    assert countries.stderr == "source: Our World in Data (Ember; Energy Institute), as in codecarbon 3.3.2\n"
    assert json.loads(run("hardware", "--json").stdout)[0] == {
        "key": "b200",
        "name": "NVIDIA B200 SXM",
        "watts": 1000,
        "source": "NVIDIA DGX B200 data sheet",
    }
    assert len(json.loads(run("countries", "--json").stdout)) == len(all_countries())


@pytest.mark.parametrize(
    ("grams", "text"), [(0.00025, "0.25 mg"), (1, "1 g"), (999, "999 g"), (14630, "14.63 kg"), (2.5e6, "2.5 t")]
)
def test_a_weight_is_told_in_the_unit_that_fits(grams: float, text: str) -> None:
    assert weight(grams) == text


def test_an_adaptation_that_was_counted_is_compared_with_a_pretraining_that_was_estimated(
    train: Train, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODECARBON_COUNTRY_ISO_CODE", "USA")
    counted = train(output_dir=tmp_path / "out").footprint
    assert counted is not None
    asked = ("--hardware", "v100-sxm2", "--count", "64", "--hours", "79", "--country", "USA")
    (tmp_path / "bert.json").write_text(run("estimate", *asked, "--json").stdout, encoding="utf-8")
    done = run("compare", "bert.json", "out")
    ratio = 0.3 * 64 * 79 / counted.energy_kwh
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines == [
        ["KWH", "CO2EQ", "FROM"],
        ["pretraining", "1517", "560.4", "kg", "bert.json"],
        ["adaptation", f"{counted.energy_kwh:.4g}", *weight(counted.grams).split(), "out/emissions.csv"],
        ["ratio", f"{ratio:.4g}", f"{ratio:.4g}"],
    ]
    found = json.loads(run("compare", "bert.json", "out/emissions.csv", "--json").stdout)
    assert found["energy_ratio"] == pytest.approx(ratio)
    assert found["adaptation"] == {
        "name": "out/emissions.csv",
        "energy_kwh": counted.energy_kwh,
        "grams": counted.grams,
    }


def test_what_is_no_run_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    (tmp_path / "empty.csv").write_text("emissions,energy_consumed,duration\n", encoding="utf-8")
    (tmp_path / "nothing.csv").write_text("emissions,energy_consumed,duration\n0,0,1\n", encoding="utf-8")
    (tmp_path / "wrong.json").write_text("[]", encoding="utf-8")
    errors = {
        "gone.csv": "There is no file 'gone.csv'; it would be the emissions.csv of a run, the folder with it, or what "
        "`zoo carbon estimate --json` printed",
        "wrong.csv": "'wrong.csv' is no emissions.csv of codecarbon (KeyError: 'emissions')",
        "empty.csv": "'empty.csv' has no rows; codecarbon writes one a run",
        "nothing.csv": "'nothing.csv' says that nothing was used, so there is no ratio; it would be above 0",
        "wrong.json": "'wrong.json' is no estimate (TypeError: list indices must be integers or slices, not str); "
        "it would be what `zoo carbon estimate --json` printed",
    }
    for name, message in errors.items():
        done = run("compare", "nothing.csv", name)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"Error: {message}\n")


def test_estimating_imports_neither_torch_nor_codecarbon(run: Run) -> None:
    source = (
        "import sys\nfrom zoo.cli.main import cli\n"
        "cli(['carbon', 'estimate', '--hardware', 't4', '--hours', '1', '--country', 'DEU'], standalone_mode=False)\n"
        "print(sorted({'torch', 'codecarbon', 'pandas', 'numpy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
