"""From a model to files, and from files to a hub."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from zoo import host
from zoo.checkpoint.fitting import written
from zoo.checkpoint.manifest import Checkpoint
from zoo.checkpoint.reader import CONFIG_FILE, PICKLE_SUFFIXES, open_weights, read_config
from zoo.checkpoint.writer import write_json, write_weights
from zoo.errors import InvalidReference, NotACheckpoint, PushRefused
from zoo.hub.card import CARD_FILE, CardFacts, read_license, write_card
from zoo.hub.client import HubClient, Silent, Watcher, check_file_name
from zoo.loading import assemble, choose_head, choose_settings, find_architecture, fit_model, head_task
from zoo.model import Model
from zoo.references import parse
from zoo.tasks import get_task
from zoo.tasks.feature_extraction import read_pooling
from zoo.tokenization import TOKENIZER_FILES, load_tokenizer

# What a checkpoint may consist of. Anything else in a folder, code and pickles above all, stays where it is.
PUSHED_SUFFIXES = (
    ".safetensors",
    ".json",
    ".txt",
    ".md",
    ".model",
    ".spm",
    ".jinja",
    ".csv",
    ".html",
    ".gitattributes",
)
POOLING_FILES = (
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "[0-9]_*/config.json",
)


def save(model: Model, folder: Path, max_shard_size: str = "5GB") -> None:
    """Write a model in the Hub's format. See Model.save."""
    assert model.fit is not None
    folder.mkdir(parents=True, exist_ok=True)
    tensors = written(model, model.fit) | dict(model.kept)
    write_weights({name: tensor.cpu() for name, tensor in tensors.items()}, folder, max_shard_size)
    write_json(folder / CONFIG_FILE, model_config(model))
    if model.tokenizer is not None:
        _copy(model.tokenizer.folder, folder, TOKENIZER_FILES)
    if model.checkpoint is not None:
        pooling = POOLING_FILES if model.task == "feature-extraction" else ()
        _copy(model.checkpoint.path, folder, ("generation_config.json", *pooling))


def model_config(model: Model) -> dict[str, Any]:
    """Give the config.json of a model: its checkpoint's own, with what differs by now."""
    original = dict(model.config) if model.config is not None else None
    config = model.spec.to_config(original)
    own = model.architecture.head_of(original or {})
    wanted = head_task(model.task)
    head = own if own is not None and own.task == wanted else model.architecture.head(wanted)
    named = get_task(model.task).fixed_labels is None
    if own is not head:
        config["architectures"] = [head.classes[0]]
    if named and (original is None or type(model.settings).from_config(original) != model.settings):
        config = _without_labels(config) | model.settings.to_config()
    elif not named and own is not head:
        config = _without_labels(config)  # another head's: `transformers` would give this one as many outputs
    dtype = str(model.dtype).removeprefix("torch.")
    for key in [key for key in ("dtype", "torch_dtype") if key in config] or ([] if original else ["dtype"]):
        config[key] = dtype
    return config


def _without_labels(config: Mapping[str, Any]) -> dict[str, Any]:
    stale = ("id2label", "label2id", "num_labels", "_num_labels", "problem_type", "finetuning_task")
    return {key: value for key, value in config.items() if key not in stale}


def push(
    model_or_folder: Model | str | Path,
    repo_id: str,
    *,
    private: bool = False,
    endpoint: str | None = None,
    token: str | None = None,
    message: str | None = None,
    watcher: Watcher | None = None,
) -> str:
    """Check a model or a checkpoint's folder, upload it, and commit it in one step. Gives the commit.

    repo_id: `org/name`; made if it does not exist. private: seen by its owners only. endpoint, token: None for
    HF_ENDPOINT and HF_TOKEN. message: of the commit. watcher: told of progress.
    A card is written where there is none. Code and pickles are left out: see `pushable`.
    Raises PushRefused, PushConflict, WeightsMismatch and the other errors of zoo.load, AccessDenied and its kin.
    """
    reference = parse(repo_id)
    if reference.repo_id is None or reference.revision is not None:
        raise InvalidReference(repo_id, "a push goes to the main branch of a repository, 'org/name'")
    with tempfile.TemporaryDirectory(prefix="zoo-push-") as temporary:
        if isinstance(model_or_folder, Model):
            folder = Path(temporary)
            save(model_or_folder, folder)
        else:
            folder = Path(model_or_folder).expanduser()
        model = check_folder(folder)
        files = {name: folder / name for name in pushable(folder)[0]}
        if CARD_FILE not in files:
            card = Path(temporary) / CARD_FILE
            card.write_text(
                write_card(card_facts(model_or_folder if isinstance(model_or_folder, Model) else model, repo_id)),
                encoding="utf-8",
            )
            files[CARD_FILE] = card
        for reason in host.notify("zoo_before_push", checkpoint=folder):
            if reason:
                raise PushRefused(repo_id, str(reason))
        client = HubClient(endpoint, token)
        client.create(repo_id, private)
        return client.commit(repo_id, files, client.head(repo_id), message or "Push with Zoo", watcher or Silent())


def check_folder(folder: Path) -> Model:
    """Check that a folder's files make a checkpoint, reading headers only. Gives its model, on the meta device.

    Raises the errors of zoo.load.
    """
    config = read_config(folder)
    architecture = find_architecture(config, Checkpoint(folder))
    weights = open_weights(folder)
    spec = architecture.spec.from_config(config).for_tensors(weights.headers)
    head = choose_head(architecture, config, None, None, weights.headers)
    model = assemble(architecture, spec, head, choose_settings(head, config, None))
    fit_model(model, head, config, None, weights)
    load_tokenizer(folder)
    read_pooling(folder)
    return model


def pushable(folder: Path) -> tuple[list[str], list[str]]:
    """Give the names of a folder's files that a push takes, and of those that it leaves out."""
    taken: list[str] = []
    left_out: list[str] = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or any(
            part.startswith(".") and part != ".gitattributes" for part in _parts(path, folder)
        ):
            continue
        name = "/".join(_parts(path, folder))
        check_file_name(name, str(folder))
        inside = path.resolve().is_relative_to(folder.resolve()) or not path.is_symlink() or _is_stored(path)
        wanted = path.name.startswith("LICENSE") or path.name.endswith(PUSHED_SUFFIXES)
        (taken if wanted and inside and not name.endswith(PICKLE_SUFFIXES) else left_out).append(name)
    if CONFIG_FILE not in taken:
        raise NotACheckpoint(folder, "config.json is not there")
    return taken, left_out


def card_facts(model: Model, repo_id: str) -> CardFacts:
    """Gather what is known of a model for its card."""
    record = model.record
    return CardFacts(
        repo_id=repo_id,
        architecture=model.architecture.name,
        task=model.task,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        labels=model.labels if get_task(model.task).fixed_labels is None else (),
        license=read_license(model.checkpoint.path) if model.checkpoint else None,
        base=record.base if record else None,
        base_commit=record.base_commit if record else None,
        examples=record.examples if record else None,
        evaluated=record.evaluated if record else 0,
        metrics=record.metrics if record else {},
        settings=record.settings if record else {},
        emissions=record.emissions if record else None,
    )


def _parts(path: Path, folder: Path) -> Sequence[str]:
    return path.relative_to(folder).parts


def _is_stored(path: Path) -> bool:
    """Tell whether a link is one of the store's: from a snapshot to a blob beside it."""
    from zoo.hub.store import store_path

    return path.resolve().is_relative_to(store_path().resolve())


def _copy(source: Path, target: Path, patterns: Sequence[str]) -> None:
    """Copy the files that fit a pattern, unless source and target are the same folder."""
    if source.resolve() == target.resolve():
        return
    for path in source.rglob("*"):
        name = "/".join(_parts(path, source))
        if path.is_file() and any(fnmatchcase(name, pattern) for pattern in patterns):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / name)
