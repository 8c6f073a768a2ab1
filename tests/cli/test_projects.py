"""lock, sync and plan as a user meets them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo.quantization import MEASURED

Zoo = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.delenv("ZOO_LOCK", raising=False)
    return project


@pytest.fixture
def first(hub: Any, folder: Path) -> str:
    """The small checkpoint on the hub as me/film. Gives the commit."""
    return zoo.push(folder, "me/film", endpoint=hub.endpoint, token=hub.token)


def move_on(hub: Any, folder: Path) -> str:
    """Push another README, and give the commit."""
    (folder / "README.md").write_text("# second\n")
    return zoo.push(folder, "me/film", endpoint=hub.endpoint, token=hub.token)


def test_a_project_holds_what_it_uses_and_gets_it_again(
    run_zoo: Zoo, hub: Any, folder: Path, first: str, project: Path
) -> None:
    assert run_zoo("lock", "add", "me/film").stdout == f"me/film: locked at {first[:12]}\n"
    held = zoo.pull("me/film", endpoint=hub.endpoint).manifest
    assert held is not None
    size = f"{held.size_bytes / 1000:.1f} kB"
    assert run_zoo("lock", "list").stdout == (
        f"REFERENCE  COMMIT        SIZE     PLUGIN\nme/film    {first[:12]}  {size}  zoo-encoder-only 0.1.0\n"
    )
    second = move_on(hub, folder)
    assert run_zoo("rm", "me/film").returncode == 0
    assert run_zoo("sync").stdout == f"me/film at {first[:12]}: as locked\n"
    frozen = run_zoo("sync", "--frozen")
    assert (frozen.returncode, frozen.stdout) == (0, f"me/film at {first[:12]}: as locked\n")
    assert sorted(line.split()[:2] for line in frozen.stderr.splitlines()) == [
        ["verified", name] for name in sorted(held.files)
    ]
    assert f"at {first[:12]}: already in the store, no request made\n" in run_zoo("pull", "me/film").stdout
    assert run_zoo("lock", "update").stdout == f"me/film: {first[:12]} -> {second[:12]}\n"
    assert run_zoo("lock", "add", "me/film").stdout == f"me/film: stays at {second[:12]}\n"
    assert run_zoo("lock", "remove", "me/film").stdout == "me/film: no longer locked\n"
    empty = run_zoo("lock", "list")
    assert (empty.stdout, empty.stderr) == ("", f"{project}/zoo.lock holds nothing. Try: zoo lock add REF\n")


def test_every_reader_prints_json(run_zoo: Zoo, hub: Any, first: str, home: Path) -> None:
    assert json.loads(run_zoo("lock", "add", "me/film", "--json").stdout) == [
        {"reference": "me/film", "before": None, "after": first}
    ]
    (listed,) = json.loads(run_zoo("lock", "list", "--json").stdout)
    assert (listed["reference"], listed["commit"], listed["endpoint"]) == ("me/film", first, hub.endpoint)
    path = str(home / "hub" / "models--me--film" / "snapshots" / first)
    assert json.loads(run_zoo("sync", "--frozen", "--json").stdout) == [
        {"reference": "me/film", "commit": first, "path": path, "remark": None}
    ]
    planned = json.loads(run_zoo("plan", "me/film", "--ranks", "2", "--json").stdout)
    assert (planned["source"], planned["architecture"], planned["share"]["ranks"]) == (path, "bert", 2)
    assert planned["weight_bytes"] == sum(planned["dtypes"].values())


def test_what_is_not_as_locked_is_listed_with_status_1(run_zoo: Zoo, first: str, project: Path) -> None:
    run_zoo("lock", "add", "me/film")
    lock = project / "zoo.lock"
    lock.write_text(lock.read_text().replace('plugin_version = "0.1.0"', 'plugin_version = "0.2.0"'))
    remark = (
        "the plugin for 'bert' is zoo-encoder-only 0.1.0; locked is zoo-encoder-only 0.2.0 "
        "(pip install zoo-encoder-only==0.2.0)"
    )
    synced = run_zoo("sync")
    assert (synced.returncode, synced.stdout) == (0, f"me/film at {first[:12]}: as locked\n")
    assert synced.stderr == f"  but {remark}\n"
    frozen = run_zoo("sync", "--frozen")
    assert (frozen.returncode, frozen.stdout) == (1, "")
    assert frozen.stderr[frozen.stderr.index("Error") :] == (
        f"Error: 1 of 1 references are not as {lock} holds them:\n"
        f"  me/film:\n    {remark}\n"
        "Where that change is meant, take it into the lock with: zoo lock update me/film\n"
    )


def test_a_plan_says_what_a_load_would_fetch_and_take(run_zoo: Zoo, hub: Any, first: str) -> None:
    plan = zoo.plan("me/film", endpoint=hub.endpoint)
    planned = run_zoo("plan", "me/film", "--dtype", "bfloat16", "--ranks", "2")
    assert planned.stderr == ""
    assert planned.stdout == (
        f"checkpoint:    me/film at {first[:12]}, {plan.size_bytes / 1000:.1f} kB in {len(plan.files)} files\n"
        f"to fetch:      {plan.size_bytes / 1000:.1f} kB\n"
        f"read:          {plan.read_bytes / 1000:.1f} kB from {hub.endpoint}\n"
        "architecture:  bert (encoder-only), by zoo-encoder-only 0.1.0\n"
        "task:          text-classification\n"
        "parameters:    10,354\n"
        "weights:       20.7 kB in bfloat16\n"
        "on a CPU:      0 B mapped, 20.7 kB own, 20.7 kB at the peak\n"
        "on a GPU:      20.7 kB, and at the peak 1.9 kB on the host\n"
        "cast:          41 (bert.embeddings.word_embeddings.weight, bert.embeddings.position_embeddings.weight, …)\n"
        "of 2 ranks:    weights 15.5 kB each\n"
        "split:         embeddings.tokens, embeddings.positions, embeddings.token_types, layers.*.feedforward.up, "
        "layers.*.feedforward.down, head.pooler.dense, head.classifier\n"
        "on every rank: layers.*.attention.query, layers.*.attention.key, layers.*.attention.value, "
        "layers.*.attention.output, norms, biases\n"
        "\n"
        "MODULE      PARAMETERS  SIZE\n"
        "embeddings  744         1.5 kB\n"
        "layers × 2  8,960       17.9 kB\n"
        "head        650         1.3 kB\n"
    )


def test_a_plan_of_what_writes_has_a_cache(run_zoo: Zoo, tmp_path: Path) -> None:
    sizes = {"vocab_size": 53, "hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 4, "head_dim": 8}
    zoo.build(zoo.make_spec("mistral", **sizes, num_key_value_heads=1, sliding_window=10)).save(tmp_path / "model")
    lines = run_zoo("plan", str(tmp_path / "model")).stdout.splitlines()
    assert lines[0].startswith(f"checkpoint:    {tmp_path}/model, ")
    assert lines[2] == f"read:          {tmp_path}/model"
    assert [line for line in lines if line.startswith("cache")] == [
        "cache:         256 B a token, of that 256 B for at most 1,098 tokens (4 layers that look back 10)"
    ]


def test_planning_needs_a_number_of_ranks(run_zoo: Zoo) -> None:
    assert run_zoo("plan", "me/film", "--ranks", "0").returncode == 2
    assert run_zoo("sync", "--fresh").returncode == 2


def test_every_command_has_an_example_in_its_help(run_zoo: Zoo) -> None:
    helped = run_zoo("--help").stdout
    assert all(f"\n  {command} " in helped for command in ("lock", "sync", "plan"))
    for words in (
        ["lock"],
        ["lock", "add"],
        ["lock", "update"],
        ["lock", "remove"],
        ["lock", "list"],
        ["sync"],
        ["plan"],
    ):
        example = " ".join(words) if words != ["lock"] else "lock add"
        assert f"Example: zoo {example}" in run_zoo(*words, "--help").stdout


def test_a_plan_of_quantised_weights_says_what_they_cost(run_zoo: Zoo, folder: Path) -> None:
    plain, quantised = (
        dict(line.split(":", 1) for line in run_zoo("plan", str(folder), *options).stdout.split("\n\n")[0].splitlines())
        for options in ((), ("--quantize", "int8"))
    )
    measured = MEASURED["int8"]
    assert "accuracy" not in plain
    assert quantised["accuracy"].strip() == (
        f"perplexity {100 * (measured.perplexity_ratio - 1):+.2f} % when measured ({measured.source}); "
        "of this checkpoint it is not known"
    )
    assert quantised["weights"].endswith("in float32, int8") or quantised["weights"].endswith("in int8, float32")
    assert json.loads(run_zoo("plan", str(folder), "--quantize", "int4", "--json").stdout)["accuracy"] == {
        "perplexity_ratio": MEASURED["int4"].perplexity_ratio,
        "source": MEASURED["int4"].source,
    }
