"""Adapters on a hub: pulled, verified, locked and pushed as checkpoints are, and used beside their base alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from huggingface_hub import constants

import zoo
from tests.checkpoints import assert_same_bytes, read_tensors, write_checkpoint, write_tokenizer
from zoo import errors
from zoo.checkpoint.adapter_files import weights_digest
from zoo.hub import syncing
from zoo.hub.lock import Lock
from zoo.hub.pulling import verify
from zoo.hub.showing import describe

LeftInStore = Callable[[], list[str]]
REVIEWS = [{"text": f"{word} film", "label": word} for word in ("good", "bad", "very", "good", "bad", "very")]
TEXTS = ["a good film", "the cat sat", "very bad"]
IDS = torch.randint(5, 53, (3, 11), generator=torch.Generator().manual_seed(5))
FILES = ["README.md", "adapter_config.json", "adapter_model.safetensors", "report.html", "zoo_adapter.json"]


@pytest.fixture
def base(hub: Any, tmp_path: Path) -> str:
    """A small encoder, pushed as me/base. Gives the commit."""
    write_checkpoint(tmp_path / "base", pooler=False)
    write_tokenizer(tmp_path / "base")
    return zoo.push(tmp_path / "base", "me/base", endpoint=hub.endpoint, token=hub.token)


@pytest.fixture
def adapter(hub: Any, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what LoRA learnt beside me/base, which is in the store then."""
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    lora = zoo.LoraConfig(rank=3, alpha=7.0, use_dora=True)
    config = zoo.FinetuneConfig(epochs=3, batch_size=2, learning_rate=0.02, output_dir=tmp_path / "adapter", lora=lora)
    zoo.finetune("me/base", REVIEWS, task="text-classification", config=config)
    return tmp_path / "adapter"


@pytest.fixture
def pushed(hub: Any, adapter: Path) -> str:
    """The adapter, pushed as me/adapter. Gives the commit."""
    return zoo.push(adapter, "me/adapter", endpoint=hub.endpoint, token=hub.token)


def test_an_adapter_of_a_hub_answers_beside_its_base_as_its_folder_does(pushed: str, adapter: Path) -> None:
    model = zoo.load("me/base", adapter=f"me/adapter@{pushed}")
    assert (model.task, model.labels, model.fresh_parameters) == ("text-classification", ("bad", "good", "very"), ())
    assert model.predict(TEXTS) == zoo.load("me/base", adapter=adapter).predict(TEXTS)


def test_peft_loads_the_pulled_folder_with_equal_logits(pushed: str) -> None:
    found = zoo.pull("me/adapter").path
    auto = transformers.AutoModelForSequenceClassification
    oracle = peft.PeftModel.from_pretrained(auto.from_pretrained(zoo.pull("me/base").path, num_labels=3), str(found))
    model = zoo.load("me/base", adapter="me/adapter")
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, oracle.eval()(input_ids=IDS).logits, atol=1e-5, rtol=0)


def test_an_adapter_is_pulled_into_the_same_store_and_verified(pushed: str, hub: Any, adapter: Path) -> None:
    checkpoint = zoo.pull("me/adapter", endpoint=hub.endpoint)
    assert checkpoint.manifest is not None
    assert (checkpoint.commit, sorted(checkpoint.manifest.files)) == (
        pushed, ["README.md", "adapter_config.json", "adapter_model.safetensors", "zoo_adapter.json"],
    )  # fmt: skip
    assert (checkpoint.path / "adapter_model.safetensors").read_bytes() == (
        adapter / "adapter_model.safetensors"
    ).read_bytes()
    assert verify(checkpoint) == 4
    blob = (checkpoint.path / "adapter_model.safetensors").resolve()
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(errors.DigestMismatch):
        verify(checkpoint)


def test_what_is_in_the_store_makes_no_request(pushed: str, proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo.load("me/base", adapter="me/adapter", endpoint=proxy.endpoint)
    asked = len(proxy.requests)
    assert zoo.load("me/base", adapter="me/adapter", endpoint=proxy.endpoint).adapter is not None
    assert len(proxy.requests) == asked
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert zoo.load("me/base", adapter="me/adapter").adapter is not None
    shutil.rmtree(zoo.pull("me/adapter").path.parents[1])
    with pytest.raises(errors.NotInStore):
        zoo.load("me/base", adapter="me/adapter", local_only=True)


def test_a_damaged_adapter_is_never_seen(pushed: str, proxy: Any, left_in_store: LeftInStore) -> None:
    before = left_in_store()

    def damage(answer: Any) -> Any:
        answer.body = answer.body[:-1] + bytes([answer.body[-1] ^ 1])
        return answer

    proxy.tamper_file("adapter_model.safetensors", damage)
    with pytest.raises(errors.DigestMismatch):
        zoo.load("me/base", adapter="me/adapter", endpoint=proxy.endpoint)
    assert [name for name in left_in_store() if "adapter" in name] == []
    assert set(before) <= set(left_in_store())


def test_an_adapter_of_pickles_is_refused(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    api = hub.api()
    api.create_repo("me/pickled")
    for name, content in (("adapter_config.json", b"{}"), ("adapter_model.bin", b"x")):
        api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id="me/pickled")
    with pytest.raises(errors.RefusedContent) as caught:
        zoo.pull("me/pickled", endpoint=hub.endpoint)
    assert str(caught.value) == (
        "'me/pickled' was refused: it is an adapter whose weights are pickles only (adapter_model.bin), and a pickle can run "
        "any code when it is read. Ask for safetensors: another revision may have them. Or, where its author is trusted, "
        "load it in peft and save it from there"
    )


def test_an_adapter_alone_says_what_to_type(pushed: str, base: str, hub: Any) -> None:
    message = (
        "'me/adapter' is an adapter: what was learnt beside a checkpoint, and no checkpoint by itself. Its base is "
        f'me/base@{base}. Load both: zoo.load("me/base@{base}", adapter="me/adapter") (on the command line: zoo run '
        f"me/base@{base} --adapter me/adapter)"
    )
    for ask in (zoo.plan, zoo.load, zoo.plan):  # of the hub, and of the store
        with pytest.raises(errors.AdapterAlone) as caught:
            ask("me/adapter")
        assert str(caught.value) == message


def test_a_whole_checkpoint_is_no_adapter(base: str, hub: Any) -> None:
    with pytest.raises(errors.InvalidInput) as caught:
        zoo.load("me/base", adapter="me/base", endpoint=hub.endpoint)
    assert str(caught.value) == (
        "'me/base' holds no adapter; it would have the files adapter_config.json and adapter_model.safetensors"
    )


def test_an_adapter_of_a_hub_is_refused_on_other_weights(pushed: str, base: str, hub: Any, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "other", seed=1, pooler=False)
    with pytest.raises(errors.AdapterMismatch) as caught:
        zoo.load(tmp_path / "other", adapter="me/adapter")
    assert str(caught.value) == (
        f"The adapter 'me/adapter' was learnt beside other weights than those of '{tmp_path / 'other'}': their digests "
        f"differ. Load the base that it names: me/base@{base}"
    )


# --- the lock ---------------------------------------------------------------------------------------------------------


def test_a_lock_holds_an_adapter_with_the_digest_of_its_base(pushed: str, project: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("ZOO_LOCK", str(project / "zoo.lock"))
    syncing.add(["me/adapter", "me/base"])
    locked = Lock.load(project / "zoo.lock").checkpoints["me/adapter"]
    weights = Lock.load(project / "zoo.lock").checkpoints["me/base"].files["model.safetensors"]
    assert (locked.commit, locked.architecture, locked.base) == (pushed, None, weights.sha256)
    assert [one.remark for one in syncing.sync(frozen=True)] == [None, None]
    assert zoo.load("me/base", adapter="me/adapter").adapter is not None


def test_a_load_obeys_the_base_that_the_lock_holds(
    pushed: str, base: str, hub: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter that PEFT made says nothing of its base; a lock may."""
    api = hub.api()
    api.delete_file("zoo_adapter.json", "me/adapter")
    monkeypatch.setenv("ZOO_LOCK", str(project / "zoo.lock"))
    syncing.add(["me/adapter"])
    lock = project / "zoo.lock"
    assert Lock.load(lock).checkpoints["me/adapter"].base is None
    text = lock.read_text()
    lock.write_text(
        text.replace(
            '\n\n[checkpoints."me/adapter".files]', f'\nbase = "{"5" * 64}"\n\n[checkpoints."me/adapter".files]'
        )
    )
    with pytest.raises(errors.AdapterMismatch) as caught:
        zoo.load("me/base", "text-classification", labels=["bad", "good", "very"], adapter="me/adapter")
    assert str(caught.value) == (
        "The adapter 'me/adapter' was learnt beside other weights than those of 'me/base', says the lock: their digests "
        f"differ. Load the base that it names: me/base@{base}"
    )


def test_the_digest_of_several_files_does_not_depend_on_their_order() -> None:
    one, two = "a" * 64, "b" * 64
    assert weights_digest([one]) == one
    assert weights_digest([one, two]) == weights_digest([two, one]) != weights_digest([one, one])


# --- pushing ----------------------------------------------------------------------------------------------------------


def test_the_card_of_an_adapter_names_its_base_as_pefts_own_do(pushed: str, base: str, hub: Any) -> None:
    card = (zoo.pull("me/adapter").path / "README.md").read_text()
    what = (
        "This is an adapter: DoRA of rank 3, 1,347 parameters for `text-classification`. It was learnt beside "
        f"[me/base](https://huggingface.co/me/base) at commit `{base}`, a `bert` model with 11,483 parameters, and belongs to "
        "these weights alone. Its labels are: `bad`, `good`, `very`."
    )
    assert (
        card
        == f"""---
base_model: me/base
library_name: peft
pipeline_tag: text-classification
tags:
- zoo
- bert
- lora
- transformers
- base_model:adapter:me/base
base_model_relation: adapter
---

# adapter

{what}

## Use

```python
import zoo

model = zoo.load("me/base@{base}", adapter="me/adapter")
```

PEFT reads it too: `peft.PeftModel.from_pretrained(base, "me/adapter")`.
"""
    )
    info = hub.api().model_info("me/adapter")
    assert (info.pipeline_tag, info.card_data.base_model) == ("text-classification", "me/base")
    oracle = transformers.AutoModel.from_pretrained(zoo.pull("me/base").path)
    theirs = peft.get_peft_model(oracle, peft.LoraConfig(target_modules=["query"]))
    assert set(theirs._get_peft_specific_model_tags()) - set(info.card_data.tags) == {
        f"base_model:adapter:{zoo.pull('me/base').path}"
    }


def test_a_model_with_an_adapter_is_pushed_as_the_adapter_alone(hub: Any, base: str, adapter: Path) -> None:
    model = zoo.load("me/base", adapter=adapter)
    zoo.finetune(model, REVIEWS, config=zoo.FinetuneConfig(max_steps=1))
    zoo.push(model, "me/again", endpoint=hub.endpoint, token=hub.token)
    checkpoint = zoo.pull("me/again")
    assert sorted(path.name for path in checkpoint.path.glob("*.safetensors")) == ["adapter_model.safetensors"]
    card = (checkpoint.path / "README.md").read_text()
    assert "\n6 examples.\n" in card and "base_model_relation: adapter\n" in card
    assert zoo.load("me/base", adapter="me/again").predict(TEXTS) == model.predict(TEXTS)


def test_an_adapter_takes_the_place_of_a_checkpoint_and_a_checkpoint_that_of_an_adapter(
    hub: Any, pushed: str, adapter: Path, tmp_path: Path
) -> None:
    zoo.push(tmp_path / "base", "me/adapter", endpoint=hub.endpoint, token=hub.token)
    names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "zoo.json"]
    assert sorted(hub.api().list_repo_files("me/adapter")) == [
        ".gitattributes",
        "README.md",
        *names[:2],
        "report.html",
        *names[2:],
    ]
    zoo.push(adapter, "me/base", endpoint=hub.endpoint, token=hub.token)
    assert sorted(hub.api().list_repo_files("me/base")) == [".gitattributes", *FILES]


def test_an_adapter_is_not_pushed_without_a_base_that_others_can_have(
    hub: Any, adapter: Path, base: str, tmp_path: Path
) -> None:
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text())
    hub.api().create_repo("me/empty")
    for name, revision, message in (
        (str(tmp_path / "base"), None, f"it is an adapter, and its base is '{tmp_path / 'base'}', which is no repository "
         "that others could get. Push that too, then let the adapter name it: zoo.load(\"org/base\", "
         'adapter="./adapter").save("./adapter")'),
        ("me/none", None, f"it is an adapter, and its base 'me/none' is neither at {hub.endpoint} nor in the store. Push it "
         "there, or fetch it from where it is: zoo pull me/none --endpoint URL"),
    ):  # fmt: skip
        path.write_text(json.dumps(config | {"base_model_name_or_path": name, "revision": revision}))
        with pytest.raises(errors.PushRefused) as caught:
            zoo.push(adapter, "me/adapter", endpoint=hub.endpoint, token=hub.token)
        assert str(caught.value) == f"The push to 'me/adapter' was refused: {message}. Nothing was uploaded"
    assert not hub.api().repo_exists("me/adapter")


def test_an_adapter_gets_the_name_of_its_base_once_that_is_on_a_hub(hub: Any, base: str, tmp_path: Path) -> None:
    config = zoo.FinetuneConfig(max_steps=1, output_dir=tmp_path / "adapter", lora=zoo.LoraConfig())
    zoo.finetune(tmp_path / "base", REVIEWS, task="text-classification", config=config)
    before = read_tensors(tmp_path / "adapter")
    with pytest.raises(errors.PushRefused):
        zoo.push(tmp_path / "adapter", "me/adapter", endpoint=hub.endpoint, token=hub.token)
    zoo.load("me/base", adapter=tmp_path / "adapter", endpoint=hub.endpoint).save(tmp_path / "adapter")
    assert_same_bytes(read_tensors(tmp_path / "adapter"), before)
    zoo.push(tmp_path / "adapter", "me/adapter", endpoint=hub.endpoint, token=hub.token)
    assert zoo.load("me/base", adapter="me/adapter", endpoint=hub.endpoint).labels == ("bad", "good", "very")


def test_an_adapter_that_does_not_fit_the_base_it_names_is_not_pushed(hub: Any, adapter: Path, tmp_path: Path) -> None:
    """Nothing of the base but its headers is read: it is on the hub alone."""
    write_checkpoint(tmp_path / "wide", hidden_size=28, pooler=False)
    write_tokenizer(tmp_path / "wide")
    commit = zoo.push(tmp_path / "wide", "me/wide", endpoint=hub.endpoint, token=hub.token)
    path = adapter / "adapter_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "me/wide", "revision": commit})
    )
    with pytest.raises(errors.AdapterMismatch):
        zoo.push(adapter, "me/adapter", endpoint=hub.endpoint, token=hub.token)
    (adapter / "zoo_adapter.json").write_text(json.dumps({"task": "text-classification", "labels": ["a", "b", "c"]}))
    with pytest.raises(errors.CorruptFile) as caught:
        zoo.push(adapter, "me/adapter", endpoint=hub.endpoint, token=hub.token)
    assert caught.value.reason == (
        "bert.encoder.layer.0.attention.self.query.lora_A.weight has the shape (3, 24); beside this model it would be (3, 28)"
    )
    assert not hub.api().repo_exists("me/adapter")


def test_an_adapter_in_the_store_is_shown_with_its_base(pushed: str, base: str) -> None:
    zoo.pull("me/adapter")
    facts = describe("me/adapter")
    digest = zoo.pull("me/base").manifest.files["model.safetensors"].sha256  # type: ignore[union-attr]
    assert {key: facts[key] for key in ("adapter", "task", "base", "base_digest", "stored")} == {
        "adapter": "DoRA of rank 3",
        "task": "text-classification",
        "base": f"me/base@{base}",
        "base_digest": digest,
        "stored": "yes",
    }
