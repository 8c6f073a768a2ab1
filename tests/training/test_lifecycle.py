"""Plugins are told of a training run: a real distribution, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.checkpoints import write_checkpoint, write_tokenizer

WITNESS = """
import json, os, pathlib
import zoo

def note(*facts):
    with pathlib.Path(os.environ["WITNESS"]).open("a") as file:
        file.write(json.dumps(facts) + "\\n")

@zoo.hookimpl
def zoo_model_loaded(model):
    note("loaded", model.task)

@zoo.hookimpl
def zoo_training_started(run):
    note("started", run.steps, run.config.batch_size, run.model.task)

@zoo.hookimpl
def zoo_training_step(step, metrics):
    note("step", step, sorted(metrics), round(metrics["learning_rate"], 6))
    return {"heat_watts": 2.5 * step}

@zoo.hookimpl
def zoo_training_evaluated(run, step, metrics):
    note("evaluated", step, sorted(metrics))

@zoo.hookimpl
def zoo_training_finished(run, result):
    result.emissions = 0.25
    note("finished", sorted(result.metrics))
"""
FIGURES = ["gradient_norm", "learning_rate", "loss", "tokens_per_second"]
JOB = """
import sys, zoo
class Tracker:
    @zoo.hookimpl
    def zoo_training_step(self, metrics):
        print(len(metrics), metrics["heat_watts"])

config = zoo.FinetuneConfig(epochs=1, batch_size=2, learning_rate=0.003)
examples = [{"text": text, "label": text} for text in ("good", "bad", "film", "dog", "cat")]
result = zoo.finetune(
    sys.argv[1], examples, examples, task="text-classification", config=config, trackers=[Tracker()]
)
print(result.emissions, result.model.record.emissions)
"""


def test_every_event_of_a_run_reaches_a_plugin_and_its_figures_reach_trackers_and_result(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "backbone")
    write_tokenizer(tmp_path / "backbone")
    site = tmp_path / "site"
    information = site / "zoo_witness-1.0.dist-info"
    information.mkdir(parents=True)
    (site / "zoo_witness.py").write_text(WITNESS, encoding="utf-8")
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-witness\nVersion: 1.0\n", encoding="utf-8")
    (information / "entry_points.txt").write_text("[zoo.lifecycle]\nwitness = zoo_witness\n", encoding="utf-8")
    environment = os.environ | {
        "PYTHONPATH": str(site),
        "ZOO_CARBON": "off",
        "WITNESS": str(tmp_path / "notes"),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", JOB, str(tmp_path / "backbone")], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "5 2.5\n5 5.0\n5 7.5\n0.25 0.25\n"), done.stderr
    notes = [json.loads(line) for line in (tmp_path / "notes").read_text(encoding="utf-8").splitlines()]
    assert notes == [
        ["loaded", "text-classification"],
        ["started", 3, 2, "text-classification"],
        *(["step", step, FIGURES, round(0.004 - 0.001 * step, 6)] for step in (1, 2, 3)),
        ["evaluated", 3, ["accuracy", "eval_loss", "f1"]],
        ["finished", ["accuracy", "eval_loss", "f1", "train_loss"]],
    ]
