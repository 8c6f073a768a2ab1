"""Trainings are counted by codecarbon itself, and nothing about counting can stop one."""

import ast
import csv
import gc
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

import zoo
import zoo_carbon.lifecycle
from tests.carbon.conftest import Train
from tests.checkpoints import SIZES
from zoo.errors import TrainingDiverged
from zoo.footprint import Footprint
from zoo.hub.card import write_card
from zoo.publishing import card_facts
from zoo.tokenization import load_tokenizer
from zoo_carbon.tracking import ESTIMATED, MEASURED, Tracking

ROOT = Path(__file__).parents[2]
SOURCE = f"codecarbon {version('codecarbon')}"


@pytest.fixture
def germany(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODECARBON_COUNTRY_ISO_CODE", "DEU")


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "emissions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("germany")
def test_result_folder_card_and_terminal_say_what_a_training_used(
    train: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = train(output_dir=tmp_path / "out")
    found = result.footprint
    assert found is not None and found.energy_kwh > 0 and found.seconds > 0
    assert found.grams == pytest.approx(found.energy_kwh * 380.95, rel=1e-9)
    assert result.emissions == found.grams / 1000
    assert (found.source, found.training_type, found.location) == (SOURCE, "fine-tuning", "Germany")
    assert set(found.methods) == {"memory", "processor"}

    (row,) = read_rows(tmp_path / "out")
    assert float(row["energy_consumed"]) == found.energy_kwh
    assert float(row["emissions"]) * 1000 == found.grams
    assert float(row["duration"]) == found.seconds
    facts = json.loads((tmp_path / "out" / "emissions.json").read_text(encoding="utf-8"))
    assert facts.pop("summary") == str(found)
    assert facts.pop("sessions") == 1
    assert Footprint(**facts) == found

    card = ModelCard(write_card(card_facts(result.model, "me/words")))
    assert card.data.to_dict()["co2_eq_emissions"] == {
        "emissions": round(found.grams, 6),
        "source": SOURCE + (" (an estimate: not all of it was read from counters)" if found.estimated else ""),
        "training_type": "fine-tuning",
        "geographical_location": "Germany",
        "hardware_used": found.hardware,
    }
    assert f"\n\n## Footprint\n\nTraining on {found.hardware} emitted {found}\n" in str(card)
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", f"carbon: {found}\n")


@pytest.mark.usefixtures("germany")
def test_the_command_prints_as_json_what_was_counted(train: Train, tmp_path: Path) -> None:
    train(max_steps=1)  # for the checkpoint that it writes
    (tmp_path / "words.csv").write_text("text,label\n" + "".join(f"{word},{word}\n" for word in ("good", "bad") * 2))
    command = [sys.executable, "-m", "zoo.cli.main", "finetune", "./backbone", "--task", "text-classification"]
    done = subprocess.run(
        [*command, "--train", "words.csv", "--eval", "words.csv", "--out", "out", "--batch-size", "2", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    given = json.loads(done.stdout)
    facts = json.loads((tmp_path / "out" / "emissions.json").read_text(encoding="utf-8"))
    metrics = given["metrics"]
    assert list(metrics) == ["train_loss", "eval_loss", "accuracy", "f1"]
    assert given == {
        "path": "out",
        "steps": 6,
        "metrics": metrics,
        "emissions": facts["grams"] / 1000,
        "footprint": {
            "grams": facts["grams"],
            "energy_kwh": facts["energy_kwh"],
            "seconds": facts["seconds"],
            "source": SOURCE,
            "training_type": "fine-tuning",
            "hardware": facts["hardware"],
            "location": "Germany",
            "methods": facts["methods"],
            "estimated": facts["estimated"],
            "grams_per_kwh": facts["grams"] / facts["energy_kwh"],
        },
        "learnt_parameters": 11458,
        "parameters": 11458,
        "commit": None,
    }
    assert facts["grams"] > 0 and set(facts["methods"]) == {"memory", "processor"}


@pytest.mark.usefixtures("germany")
def test_whoever_looks_on_sees_the_grams_so_far(train: Train) -> None:
    """codecarbon gives figures every 15 seconds; here it is asked for them."""
    seen: list[float | None] = []

    class Look:
        @zoo.hookimpl
        def zoo_training_step(self, run: Any, metrics: dict[str, float]) -> None:
            tracking = zoo_carbon.lifecycle._trackings[id(run)]
            expected = tracking.sessions.footprint
            assert metrics.get("CO2_grams") == (None if expected is None else expected.grams)
            seen.append(metrics.get("CO2_grams"))
            tracking._tracker.flush()

    result = train(max_steps=3, trackers=[Look()])
    assert result.footprint is not None
    grams = [one for one in [*seen, result.footprint.grams] if one is not None]
    assert len(grams) > 2 and grams[0] > 0
    assert all(one <= later for one, later in pairwise(grams))


def test_what_no_counter_measured_is_called_an_estimate(train: Train) -> None:
    from codecarbon.core.cpu import is_rapl_available

    found = train().footprint
    assert found is not None
    assert found.methods["memory"] == "estimated from its size"
    if is_rapl_available():
        assert found.methods["processor"] == "measured by its RAPL counters" and not found.estimated
    else:
        assert found.methods["processor"] in (ESTIMATED["cpu_load"], ESTIMATED["constant"]) and found.estimated
    words = "This is an estimate (" if found.estimated else "This was measured ("
    assert words in str(found) and f"; processor: {found.methods['processor']}" in str(found)


def test_an_accelerator_without_a_counter_is_said_not_to_be_counted(tmp_path: Path) -> None:
    tracking = Tracking(tmp_path, "fine-tuning", "mps", lambda text: None)
    found = tracking.finish()
    assert found.methods["GPU"] in ("not counted, as no counter of it can be read", MEASURED["GPU"])
    assert found.estimated or found.methods["GPU"] == MEASURED["GPU"]


def test_without_a_country_the_worlds_average_counts_and_is_said_to(
    train: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = train().footprint
    assert found is not None and found.location == "the world's average"
    assert found.grams == pytest.approx(found.energy_kwh * 475, rel=1e-9)
    assert capfd.readouterr().err == (
        "carbon: no country is set; counting with the world's average, 475 g/kWh. To set it: "
        f'CODECARBON_COUNTRY_ISO_CODE=DEU, or country = "DEU" under [carbon] in {tmp_path / "config.toml"}\n'
        f"carbon: {found}\n"
    )


def test_the_country_comes_from_zoos_configuration_or_from_codecarbons(
    train: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text('[carbon]\ncountry = "fr"\n', encoding="utf-8")
    found = train().footprint
    assert found is not None and found.location == "France"
    (tmp_path / ".codecarbon.config").write_text("[codecarbon]\ncountry_iso_code = SWE\n", encoding="utf-8")
    found = train().footprint
    assert found is not None and found.location == "Sweden"
    assert capfd.readouterr().err.count("no country is set") == 0


def test_an_unknown_country_is_said_and_does_not_stop_the_training(
    train: Train, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CODECARBON_COUNTRY_ISO_CODE", "DEX")
    found = train().footprint
    assert found is not None and found.location == "the world's average"
    assert capfd.readouterr().err.startswith(
        "carbon: The grid of 'DEX' is not known; near it: DEU (Germany), MEX (Mexico). "
        "All that are: zoo carbon countries; counting with the world's average, 475 g/kWh. To set it: "
    )


def test_nothing_is_sent_anywhere_whatever_codecarbons_own_settings_ask_for(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "SAVE_TO_API": "true",
        "API_KEY": "key",
        "EMISSIONS_ENDPOINT": "http://carbon.example/",
        "ELECTRICITYMAPS_API_TOKEN": "token",
        "CO2_SIGNAL_API_TOKEN": "token",
        "SAVE_TO_PROMETHEUS": "true",
        "OUTPUT_METHODS": "csv,api,prometheus",
        "OUTPUT_DIR": "/nowhere",
    }.items():
        monkeypatch.setenv(f"CODECARBON_{name}", value)
    asked: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: asked.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *names, **more: asked.append(names) or [])
    found = train().footprint
    assert found is not None and found.location == "the world's average"
    assert asked == []


@pytest.mark.usefixtures("germany")
def test_a_tracker_that_cannot_begin_leaves_the_training_alone(
    train: Train, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CODECARBON_TRACKING_MODE", "nonsense")
    result = train()
    assert (result.emissions, result.footprint) == (None, None)
    assert result.metrics["train_loss"] > 0
    assert capfd.readouterr().err == (
        "carbon: this training is not counted: codecarbon does not begin (AssertionError)\n"
    )
    monkeypatch.delenv("CODECARBON_TRACKING_MODE")
    assert train().footprint is not None, "the next training is counted again"


@pytest.mark.usefixtures("germany")
def test_files_that_cannot_be_written_take_nothing_from_the_result(
    train: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / "emissions.csv").mkdir(parents=True)
    result = train(output_dir=tmp_path / "out")
    assert result.footprint is not None
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert re.fullmatch(
        r"carbon: emissions\.csv is not written: \[Errno \d+\] Is a directory: .*\ncarbon: .*\n",
        capfd.readouterr().err,
    )


@pytest.mark.usefixtures("germany")
def test_a_new_training_in_a_folder_begins_anew_and_one_that_goes_on_is_added(train: Train, tmp_path: Path) -> None:
    train(output_dir=tmp_path / "out")
    second = train(output_dir=tmp_path / "out").footprint
    (row,) = read_rows(tmp_path / "out")
    assert second is not None and float(row["energy_consumed"]) == second.energy_kwh

    resumed = Tracking(tmp_path / "out", "fine-tuning", "cpu", lambda text: None)
    resumed.decide(step=7)
    both = resumed.finish()
    rows = read_rows(tmp_path / "out")
    assert rows[0] == row and len(rows) == 2
    assert both.energy_kwh == second.energy_kwh + float(rows[1]["energy_consumed"])
    assert both.seconds == second.seconds + float(rows[1]["duration"])
    assert json.loads((tmp_path / "out" / "emissions.json").read_text(encoding="utf-8"))["sessions"] == 2


def test_a_killed_training_leaves_no_figures_of_an_earlier_one(tmp_path: Path) -> None:
    for name in ("emissions.csv", "emissions.json"):
        (tmp_path / name).write_text("of an earlier result", encoding="utf-8")
    tracking = Tracking(tmp_path, "fine-tuning", "cpu", lambda text: None)
    tracking.decide(step=1)
    assert list(tmp_path.glob("emissions.*")) == []
    tracking.finish()


def test_sessions_that_cannot_be_read_are_said_and_not_counted_in(tmp_path: Path) -> None:
    (tmp_path / "emissions.csv").write_text("emissions,duration\n1,2\n", encoding="utf-8")
    told: list[str] = []
    tracking = Tracking(tmp_path, "fine-tuning", "cpu", told.append)
    tracking.decide(step=2)
    found = tracking.finish()
    assert told[1:] == [
        "carbon: the earlier sessions of this run are not counted in: "
        f"'{tmp_path / 'emissions.csv'}' is no emissions.csv of codecarbon (KeyError: 'energy_consumed')"
    ]
    assert 0 < found.grams < 1


@pytest.mark.usefixtures("germany")
def test_what_a_failed_training_used_is_kept_and_counting_ends(
    train: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TrainingDiverged):
        train(output_dir=tmp_path / "out", learning_rate=1e30, max_gradient_norm=1e30)
    gc.collect()
    (row,) = read_rows(tmp_path / "out")
    assert float(row["energy_consumed"]) > 0
    assert capfd.readouterr().err.startswith("carbon: ")
    assert [thread.name for thread in threading.enumerate() if isinstance(thread, threading.Timer)] == []


@pytest.mark.parametrize(("name", "value"), [("ZOO_CARBON", "off"), ("LOCAL_RANK", "1")])
def test_counting_is_off_where_asked_for_and_in_all_processes_but_the_first(
    name: str, value: str, train: Train, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    result = train()
    assert (result.emissions, result.footprint, capfd.readouterr().err) == (None, None, "")


WITHOUT = """
import sys, zoo
from zoo.hub.card import write_card
from zoo.publishing import card_facts
from zoo.tokenization import load_tokenizer
examples = [{"text": text, "label": text} for text in ("good", "bad", "film")]
result = zoo.finetune(sys.argv[1], examples, task="text-classification", config=zoo.FinetuneConfig(epochs=1))
card = write_card(card_facts(result.model, "me/words"))
print(result.emissions, result.footprint, "co2" in card, "Footprint" in card)
print([name for name in sys.modules if name.split(".")[0] in ("codecarbon", "zoo_carbon")])
"""


@pytest.mark.usefixtures("train")
def test_without_the_plugin_nothing_is_counted_and_nothing_said(tmp_path: Path) -> None:
    environment = os.environ | {"ZOO_PLUGINS": "zoo-encoder-only", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path / "backbone")], env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("None None False False\n[]\n", "")


def test_the_core_imports_no_codecarbon() -> None:
    names = {
        name
        for path in (ROOT / "zoo").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert "torch" in names
    assert [name for name in names if name.split(".")[0] in ("codecarbon", "zoo_carbon")] == []


@pytest.mark.usefixtures("train")
def test_a_model_that_began_with_random_weights_is_pretrained(tmp_path: Path) -> None:
    model = zoo.build(zoo.make_spec("bert", **SIZES), "text-classification", labels=["good", "bad"])
    model.tokenizer = load_tokenizer(tmp_path / "backbone")
    examples = [{"text": word, "label": word} for word in ("good", "bad")]
    found = zoo.finetune(model, examples, config=zoo.FinetuneConfig(epochs=1)).footprint
    assert found is not None and found.training_type == "pre-training"


def test_a_configuration_of_another_form_is_said_and_does_not_stop_the_training(
    train: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text('carbon = "DEU"\n', encoding="utf-8")
    assert train().footprint is None
    assert capfd.readouterr().err == (
        f"carbon: this training is not counted: The configuration {tmp_path / 'config.toml'} cannot be read: "
        "[carbon] must be a table. Correct it or remove it\n"
    )
    assert logging.getLogger("codecarbon").filters == [], "codecarbon's log is the user's own again"
