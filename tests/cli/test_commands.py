"""The command line as a user meets it: output, exit status, and where each line goes."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import zoo
from tests.checkpoints import listed
from tests.hub.recording import recording, reply
from zoo.cli.plugins import arch_command

Zoo = Callable[..., subprocess.CompletedProcess[str]]


def test_a_checkpoint_goes_to_the_hub_and_back(run_zoo: Zoo, hub: Any, folder: Path, home: Path) -> None:
    pushed = run_zoo("push", str(folder), "me/film", token=hub.token)
    assert pushed.returncode == 0
    commit = hub.api().model_info("me/film").sha
    sent = sum(
        file.size for file in hub.api().model_info("me/film", files_metadata=True).siblings if file.rfilename[0] != "."
    )
    assert pushed.stdout == f"me/film at {commit[:12]}: 5 files ({sent / 1000:.1f} kB) uploaded\n"
    path = home / "hub" / "models--me--film" / "snapshots" / commit
    pulled = run_zoo("pull", "me/film")
    size = f"{sum(file.stat().st_size for file in path.iterdir()) / 1000:.1f} kB"
    assert pulled.stdout == f"me/film at {commit[:12]}: fetched {size} from {hub.endpoint}, verified\n{path}\n"
    assert sorted(line.split()[1] for line in pulled.stderr.splitlines()) == [
        "README.md", "config.json", "model.safetensors", "tokenizer.json", "zoo.json",
    ]  # fmt: skip
    again = run_zoo("pull", "me/film")
    assert (again.stdout, again.stderr) == (
        f"me/film at {commit[:12]}: already in the store, no request made\n{path}\n",
        "",
    )
    listed = run_zoo("list")
    assert [line.split() for line in listed.stdout.splitlines()] == [
        ["REPOSITORY", "COMMIT", "REVISIONS", "SIZE", "VERIFIED"],
        ["me/film", commit[:12], "main", *size.split(), "yes"],
    ]
    canary = json.loads((path / "zoo.json").read_text())
    by = ", ".join(f"{name} {version}" for name, version in canary["written_by"].items())
    assert run_zoo("verify", "me/film").stdout == (
        f"me/film: 5 files, {size}, all as promised\n  canary: 7 texts give the same here as with {by} (float32)\n"
    )
    shown = json.loads(run_zoo("show", "me/film", "--json").stdout)
    assert (shown["commit"], shown["architecture"]) == (commit, "bert")
    assert run_zoo("rm", "me/film").stdout.startswith("me/film: removed, ")
    empty = run_zoo("list")
    assert (empty.stdout, empty.stderr) == ("", "The store is empty. Try: zoo list --catalogue, then zoo pull NAME\n")


def test_a_dry_run_of_a_pull_lists_files_and_bytes(run_zoo: Zoo, hub: Any, folder: Path) -> None:
    commit = zoo.push(folder, "me/film", endpoint=hub.endpoint, token=hub.token)
    run_zoo("pull", "me/film", "--exclude", "model*", "--exclude", "*.md")
    dry = run_zoo("pull", "me/film", "--dry-run", "--exclude", "*.md")
    files = {file.rfilename: file.size for file in hub.api().model_info("me/film", files_metadata=True).siblings}
    sizes = {name: f"{count} B" if count < 1000 else f"{count / 1000:.1f} kB" for name, count in files.items()}
    assert (dry.returncode, dry.stderr) == (0, "")
    assert dry.stdout == (
        f"would fetch model.safetensors ({sizes['model.safetensors']})\n"
        + "".join(f"here already {name} ({sizes[name]})\n" for name in ("config.json", "tokenizer.json", "zoo.json"))
        + f"me/film at {commit[:12]}: {sizes['model.safetensors']} in 1 file to fetch from {hub.endpoint}\n"
    )
    planned = json.loads(run_zoo("pull", "me/film", "--dry-run", "--json").stdout)
    assert planned[0]["to_fetch"] == {name: files[name] for name in ("README.md", "model.safetensors")}
    run_zoo("pull", "me/film")
    again = run_zoo("pull", "me/film", "--dry-run")
    assert again.stdout.splitlines()[-1] == f"me/film at {commit[:12]}: nothing to fetch"


def test_what_a_file_says_cannot_steer_the_terminal(run_zoo: Zoo, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "\x1b[2J\u202e\r"}))
    refused = run_zoo("plan", str(folder))
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        "Error: No installed plugin provides the architecture '\\x1b[2J\\u202e\\r'; installed: albert"
    )


def test_run_answers_arguments_and_stdin(run_zoo: Zoo, folder: Path) -> None:
    expected = zoo.load(str(folder)).predict(["good film", "bad"])
    answered = run_zoo("run", str(folder), "good film", "bad")
    assert answered.returncode == 0
    assert answered.stdout == (
        f"good film\n  {expected[0].score:.4f}  {expected[0].label}\nbad\n  {expected[1].score:.4f}  {expected[1].label}\n"
    )
    piped = json.loads(run_zoo("run", str(folder), "--json", stdin="good film\n\nbad\n").stdout)
    assert piped == [
        {"input": text, "output": {"label": label.label, "score": label.score}}
        for text, label in zip(["good film", "bad"], expected, strict=True)
    ]


def test_embed_prints_one_vector_a_text(run_zoo: Zoo, folder: Path) -> None:
    vectors = zoo.load(str(folder), "feature-extraction").embed(["good film", "bad"]).tolist()
    printed = run_zoo("embed", str(folder), "good film", "bad")
    assert [[float(value) for value in line.split()] for line in printed.stdout.splitlines()] == [
        [round(value, 6) for value in vector] for vector in vectors
    ]
    found = json.loads(run_zoo("embed", str(folder), "good film", "--json").stdout)
    assert found == [{"input": "good film", "vector": vectors[0]}]


def test_finetune_saves_a_model_that_run_loads(run_zoo: Zoo, hub: Any, folder: Path, tmp_path: Path) -> None:
    rows = [("good", "yes"), ("good film", "yes"), ("bad", "no"), ("bad film", "no")] * 8
    data = tmp_path / "data.csv"
    data.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    done = run_zoo(
        "finetune", str(folder), "--train", str(data), "--eval", str(data), "--out", str(tmp_path / "out"),
        "--epochs", "12", "--learning-rate", "0.01", "--push", "me/tuned", "--json", token=hub.token,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["metrics"]["accuracy"] == 1.0
    assert result["commit"] == hub.api().model_info("me/tuned").sha
    answers = json.loads(run_zoo("run", str(tmp_path / "out"), "good", "bad", "--json").stdout)
    assert [answer["output"]["label"] for answer in answers] == ["yes", "no"]


def test_search_asks_the_hub(run_zoo: Zoo, hub: Any, folder: Path) -> None:
    zoo.push(folder, "me/film", endpoint=hub.endpoint, token=hub.token)
    assert run_zoo("search", "film").stdout == "REPOSITORY  TASK\nme/film     text-classification\n"
    nothing = run_zoo("search", "opera")
    assert (nothing.stdout, nothing.stderr) == ("", "Nothing like 'opera' was found.\n")


def test_what_a_hub_says_cannot_steer_the_terminal(run_zoo: Zoo) -> None:
    with recording() as server:
        server.answer = lambda request: reply(200, [{"id": "me/\x1b]0;title\x07", "pipeline_tag": "\u202ex"}])
        found = run_zoo("search", "me", "--endpoint", server.endpoint)
    assert found.stdout.splitlines()[1].split() == ["me/\\x1b]0;title\\x07", "\\u202ex"]


def test_an_error_is_one_sentence_on_stderr_with_status_1(run_zoo: Zoo, hub: Any) -> None:
    failed = run_zoo("pull", "me/nothing")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == (
        f"Error: There is no repository 'me/nothing' to be seen at {hub.endpoint} without a token. It may be mistyped, "
        "private or gone. Try: zoo search nothing, or give a token with HF_TOKEN\n"
    )
    traced = run_zoo("--debug", "pull", "me/nothing")
    assert "Traceback" in traced.stderr


def test_wrong_usage_has_status_2(run_zoo: Zoo) -> None:
    assert run_zoo("pull").returncode == 2
    unknown = run_zoo("pul")
    assert unknown.returncode == 2
    assert "No such command 'pul'" in unknown.stderr
    assert run_zoo("list", "--kind").returncode == 2


def test_arch_show_prints_the_spec(run_zoo: Zoo) -> None:
    shown = run_zoo("arch", "show", "bert").stdout.splitlines()
    bert = zoo.get_architecture("bert")
    assert shown[:8] == [
        "name:         bert",
        "kind:         encoder-only",
        "distribution: zoo-encoder-only 0.1.0",
        "paper:        BERT: Pre-training of Deep Bidirectional Transformers (https://arxiv.org/abs/1810.04805)",
        f"summary:      {bert.summary}",
        "",
        "HEAD                  CLASSES THAT MEAN IT",
        "feature-extraction    BertModel",
    ]
    fields = [line.split(maxsplit=2) for line in shown[shown.index("") + 1 :] if not line.startswith(" ")]
    assert ["hidden_size", "required", "Width of the hidden states"] in fields
    assert ["is_decoder", "False", "Pinned: an encoder is no decoder"] in fields
    told = json.loads(run_zoo("arch", "show", "bert", "--json").stdout)
    assert (told["summary"], told["tasks"]) == (bert.summary, list(bert.tasks))
    assert told["heads"][1] == {"task": "fill-mask", "classes": ["BertForMaskedLM", "BertForPreTraining"]}
    schema = json.loads(run_zoo("arch", "show", "bert", "--json-schema").stdout)
    assert schema["properties"]["hidden_size"]["description"] == "Width of the hidden states"
    unknown = run_zoo("arch", "show", "mamba")
    installed = listed([info.name for info in zoo.list_architectures()])
    assert (unknown.returncode, unknown.stderr) == (
        1,
        f"Error: No installed plugin provides the architecture 'mamba'; installed: {installed}. No known plugin provides "
        "it; zoo arch list shows what is installed\n",
    )


@pytest.mark.parametrize("name", [info.name for info in zoo.list_architectures()])
def test_arch_show_tells_all_of_every_architecture(name: str) -> None:
    architecture = zoo.get_architecture(name)
    told = json.loads(CliRunner().invoke(arch_command, ["show", name, "--json"]).stdout)
    assert (told["kind"], told["paper"], told["summary"]) == (
        architecture.kind,
        architecture.paper,
        architecture.summary,
    )
    assert told["distribution"].startswith("zoo-")
    assert [head["classes"] for head in told["heads"]] == [list(head.classes) for head in architecture.heads]
    assert all(field["description"] for field in told["spec"])
    shown = CliRunner().invoke(arch_command, ["show", name]).stdout
    assert all(field["name"] in shown and field["description"] in shown for field in told["spec"])
    schema = json.loads(CliRunner().invoke(arch_command, ["show", name, "--json-schema"]).stdout)
    assert schema["properties"].keys() == {field["name"] for field in told["spec"]}


def test_plugins_and_architectures_are_listed(run_zoo: Zoo) -> None:
    listed = json.loads(run_zoo("arch", "list", "--json").stdout)
    bert = {"name": "bert", "kind": "encoder-only", "distribution": "zoo-encoder-only", "version": "0.1.0"}
    assert [info for info in listed if info["name"] == "bert"] == [bert]
    names = [info["name"] for info in listed]
    assert names == sorted(names)
    found = run_zoo("plugins", "doctor").stdout.splitlines()
    assert found[:3] == [
        "zoo.catalogues zoo-registry (zoo-registry 0.1.0): ok",
        "zoo.commands carbon (zoo-carbon 0.1.0): ok",
        "zoo.commands serve (zoo-registry 0.1.0): ok",
    ]
    assert "zoo.encoder_only bert (zoo-encoder-only 0.1.0): ok" in found
    assert [line for line in found if not line.endswith(": ok")] == []


def test_an_architecture_is_checked(run_zoo: Zoo) -> None:
    checked = run_zoo("plugins", "check", "bert")
    assert checked.returncode == 0, checked.stdout
    assert " passed in " in checked.stdout
    unknown = run_zoo("plugins", "check", "mamba")
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("Error: No installed plugin provides the architecture 'mamba'")


def test_the_catalogue_is_listed(run_zoo: Zoo) -> None:
    assert run_zoo("list", "--catalogue", "all-minilm-l6*").stdout == (
        "NAME              REPOSITORY                              TASK                PARAMETERS  LICENSE\n"
        "all-minilm-l6-v2  sentence-transformers/all-MiniLM-L6-v2  feature-extraction  22.7 M      apache-2.0\n"
    )


def test_every_command_has_an_example_in_its_help(run_zoo: Zoo) -> None:
    helped = run_zoo("--help").stdout
    commands = [
        "pull",
        "push",
        "list",
        "show",
        "search",
        "verify",
        "rm",
        "run",
        "embed",
        "finetune",
        "eval",
        "pretrain",
        "serve",
    ]
    assert all(f"\n  {command} " in helped for command in [*commands, "arch", "plugins"])
    pairs = [[command] for command in commands] + [
        ["arch", "list"],
        ["arch", "show"],
        ["plugins", "list"],
        ["plugins", "doctor"],
    ]
    for words in pairs:
        assert f"Example: zoo {' '.join(words)}" in run_zoo(*words, "--help").stdout


def test_every_stored_checkpoint_is_verified_and_leftovers_are_pruned(
    run_zoo: Zoo, hub: Any, folder: Path, home: Path
) -> None:
    for name in ("me/one", "me/two"):
        run_zoo("push", str(folder), name, token=hub.token)
        run_zoo("pull", name)
    sound = run_zoo("verify", "--all")
    assert sound.returncode == 0
    assert sound.stdout.splitlines()[-1] == "2 checkpoints, none of them damaged"
    listed = run_zoo("list")
    total = sum(path.stat().st_size for path in (home / "hub").glob("models--*/blobs/*"))
    assert listed.stderr == f"{total / 1000:.1f} kB on disk; what several share counts once\n"
    commit = hub.api().model_info("me/one").sha
    card = (home / "hub" / "models--me--one" / "snapshots" / commit / "README.md").resolve()
    card.write_text("damaged")
    damaged = run_zoo("verify", "--all")
    assert damaged.returncode == 1
    assert damaged.stdout.splitlines()[-1] == "2 checkpoints, 1 of them damaged"
    said = [line for line in damaged.stderr.splitlines() if line.startswith("me/")]
    assert [line.split(" has the digest ")[0] for line in said] == [f"me/one@{commit}: 'README.md'"]
    (home / "hub" / "models--me--two" / "blobs" / ("a" * 64)).write_bytes(b"x" * 2500)
    told = run_zoo("prune", "--dry-run")
    assert told.stdout == f"me/two: unused blob {'a' * 64} (2.5 kB)\n2.5 kB would be freed\n"
    assert run_zoo("prune").stdout == f"me/two: unused blob {'a' * 64} (2.5 kB)\n2.5 kB freed\n"
    assert json.loads(run_zoo("prune", "--json").stdout) == {
        "freed_bytes": 0, "leftovers": [], "busy": [], "dry_run": False,
    }  # fmt: skip
    both = run_zoo("verify", "--all", "me/one")
    assert both.returncode == 2
    assert both.stderr.splitlines()[-1] == "Error: Name the checkpoints to check, or give --all."
