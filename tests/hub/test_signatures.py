"""Signatures: made offline, held against the user's policy before anything is installed."""

import base64
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.checkpoints import read_tensors, write_tensors
from tests.hub.keys import make_key
from zoo import errors
from zoo.configuration import signature_policy
from zoo.hub import signatures
from zoo.hub.signatures import SIGNATURE_FILE, read_statement, verify_checkpoint
from zoo.publishing import check_folder
from zoo.signing import sign


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private key, and the public half that the configuration trusts."""
    return make_key(tmp_path, "mine")


@pytest.fixture
def ask(tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes the policy for the namespace `me` into the user's configuration."""
    monkeypatch.setenv("ZOO_CONFIG", str(tmp_path / "config.toml"))

    def write(policy: str, *trusted: Path, namespace: str = "me") -> None:
        names = json.dumps([path.name for path in trusted or (keys[1],)])
        (tmp_path / "config.toml").write_text(f'[signatures."{namespace}"]\npolicy = "{policy}"\nkeys = {names}\n')

    return write


def push(hub: Any, folder: Path) -> str:
    return zoo.push(folder, "me/small", endpoint=hub.endpoint, token=hub.token)


def refusal(hub: Any, **options: Any) -> str:
    """Pull, and give the reason of the refusal."""
    with pytest.raises(errors.SignatureRefused) as caught:
        zoo.pull("me/small", endpoint=hub.endpoint, **options)
    assert str(caught.value) == (
        f"The signature of 'me/small' does not hold: {caught.value.reason}. Ask its author for a signed one, or change "
        "what is asked for under [signatures] in the configuration"
    )
    return caught.value.reason


def test_a_signed_folder_is_pushed_pulled_and_verified(
    hub: Any, folder: Path, keys: tuple[Path, Path], ask: Callable[..., None]
) -> None:
    assert sign(folder, keys[0]).files == 5
    assert sorted(read_statement(folder / SIGNATURE_FILE)) == [
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "zoo.json",
    ]  # fmt: skip
    push(hub, folder)
    ask("require")
    checkpoint = zoo.pull("me/small", endpoint=hub.endpoint)
    signed = verify_checkpoint(checkpoint)
    assert signed is not None
    assert (signed.key, signed.files) == (keys[1], 5)
    assert zoo.load("me/small", endpoint=hub.endpoint, verify=True).task == "text-classification"


def test_the_library_s_own_check_accepts_what_zoo_signed_and_zoo_what_it_signed(
    hub: Any, folder: Path, keys: tuple[Path, Path], ask: Callable[..., None]
) -> None:
    from model_signing import hashing, signing, verifying

    sign(folder, keys[0])
    (folder / "README.md").write_text("# mine\n")
    verifying.Config().use_elliptic_key_verifier(public_key=keys[1]).verify(folder, folder / SIGNATURE_FILE)
    plain = hashing.Config().set_ignored_paths(paths=[SIGNATURE_FILE])
    config = signing.Config().set_hashing_config(plain).use_elliptic_key_signer(private_key=keys[0])
    config.sign(folder, folder / SIGNATURE_FILE)
    push(hub, folder)
    ask("require")
    checkpoint = zoo.pull("me/small", endpoint=hub.endpoint)
    assert verify_checkpoint(checkpoint) == signatures.SignedBy(keys[1], 6)


def test_a_repository_is_signed_by_a_commit_of_its_own(
    hub: Any, folder: Path, published: str, keys: tuple[Path, Path], ask: Callable[..., None]
) -> None:
    signed = sign("me/small", keys[0], endpoint=hub.endpoint, token=hub.token)
    assert signed.landed is not None
    commits = hub.api().list_repo_commits("me/small")
    assert [commit.commit_id for commit in commits[:2]] == [signed.landed.commit, published]
    assert commits[0].title == f"Sign {published[:12]}"
    ask("require")
    assert zoo.pull("me/small", endpoint=hub.endpoint, refresh=True).commit == signed.landed.commit


def test_an_unsigned_checkpoint_never_becomes_visible(
    hub: Any, published: str, ask: Callable[..., None], left_in_store: Callable[[], list[str]]
) -> None:
    ask("require")
    assert refusal(hub) == "it is not signed: it has no model.sig"
    assert left_in_store() == []
    ask("require", namespace="others")
    assert zoo.pull("me/small", endpoint=hub.endpoint).commit == published
    ask("require", namespace="*")
    assert refusal(hub) == "it is not signed: it has no model.sig"


def test_what_is_in_the_store_is_held_against_the_policy_too(
    hub: Any, published: str, ask: Callable[..., None]
) -> None:
    zoo.pull("me/small", endpoint=hub.endpoint)
    ask("require")
    assert refusal(hub) == "it is not signed: it has no model.sig"
    assert refusal(hub, local_only=True) == "it is not signed: it has no model.sig"


def test_a_signature_by_a_stranger_is_refused(
    hub: Any, folder: Path, tmp_path: Path, keys: tuple[Path, Path], ask: Callable[..., None]
) -> None:
    stranger, theirs = make_key(tmp_path, "stranger")
    sign(folder, stranger)
    push(hub, folder)
    ask("require")
    assert refusal(hub) == "no trusted key made its model.sig (mine.pub.pem: made with another key)"
    ask("require", keys[1], theirs)
    assert zoo.pull("me/small", endpoint=hub.endpoint).repo_id == "me/small"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_changed_after_the_signature_is_refused(
    hub: Any, folder: Path, keys: tuple[Path, Path], ask: Callable[..., None], name: str
) -> None:
    sign(folder, keys[0])
    push(hub, folder)
    if name == "model.safetensors":
        tensors = read_tensors(folder)
        tensors["classifier.bias"][0] += 1
        write_tensors(folder, tensors)
        changed: Any = folder / name
    else:
        changed = json.dumps(json.loads((folder / name).read_text()), indent=3).encode()
    hub.api(hub.token).create_commit(
        "me/small", [operation(name, changed)], commit_message="changed", parent_commit=None
    )
    ask("require")
    assert refusal(hub) == f"its file {name} is not the one that was signed"


def operation(name: str, content: Any) -> Any:
    """What adds a file, through plain HTTP."""
    import io

    from huggingface_hub import CommitOperationAdd

    return CommitOperationAdd(name, io.BytesIO(content if isinstance(content, bytes) else Path(content).read_bytes()))


def test_a_file_that_nobody_signed_is_refused_unless_it_is_the_card(
    hub: Any, folder: Path, keys: tuple[Path, Path], ask: Callable[..., None]
) -> None:
    sign(folder, keys[0])
    push(hub, folder)
    hub.api().upload_file(repo_id="me/small", path_in_repo="README.md", path_or_fileobj=b"# new\n")
    ask("require")
    zoo.pull("me/small", endpoint=hub.endpoint)
    hub.api().upload_file(repo_id="me/small", path_in_repo="generation_config.json", path_or_fileobj=b"{}")
    assert refusal(hub, refresh=True) == "its signature does not cover generation_config.json"


def test_a_file_that_was_signed_and_is_gone_is_refused(
    hub: Any, folder: Path, keys: tuple[Path, Path], ask: Callable[..., None]
) -> None:
    sign(folder, keys[0])
    push(hub, folder)
    hub.api().delete_file("tokenizer_config.json", "me/small")
    ask("require")
    assert refusal(hub) == "its signature covers tokenizer_config.json, which is not there"


def test_a_warning_lets_it_pass_and_off_says_nothing(hub: Any, published: str, ask: Callable[..., None]) -> None:
    ask("warn")
    with pytest.warns(errors.SignatureWarning, match="'me/small' does not hold: it is not signed: it has no model.sig"):
        assert zoo.pull("me/small", endpoint=hub.endpoint).commit == published
    ask("off")
    with warnings.catch_warnings():
        warnings.simplefilter("error", errors.SignatureWarning)
        zoo.pull("me/small", endpoint=hub.endpoint)


def edit(change: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    """Change the statement of a signature, and leave the signature over it."""

    def apply(content: bytes) -> bytes:
        bundle = json.loads(content)
        statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        change(statement)
        bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
        return json.dumps(bundle).encode()

    return apply


HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "no JSON": (lambda _: b"{", "its model.sig cannot be read: it is no signature of a model (JSONDecodeError"),
    "a list": (lambda _: b"[]", "its model.sig cannot be read: it is no signature of a model (TypeError"),
    "deep": (lambda _: b"[" * 100_000, "its model.sig cannot be read: it is no signature of a model (RecursionError"),
    "huge": (lambda _: b" " * 10_000_001, "its model.sig cannot be read: it has more than 10000000 bytes"),
    "another digest": (
        edit(lambda s: s["predicate"]["resources"][0].update(digest="0" * 64)),
        "no trusted key made its model.sig (mine.pub.pem: the signature is wrong)",
    ),
    "a file less": (
        edit(lambda s: s["predicate"]["resources"].pop()),
        "no trusted key made its model.sig (mine.pub.pem: the signature is wrong)",
    ),
    "another hash": (
        edit(lambda s: s["predicate"]["serialization"].update(hash_type="blake2")),
        "its model.sig cannot be read: it states (",
    ),
    "a file twice": (
        edit(lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0])),
        "its model.sig cannot be read: it does not state one sha256 for each file",
    ),
    "no signature": (
        lambda content: json.dumps({**json.loads(content), "verificationMaterial": {}}).encode(),
        "no trusted key made its model.sig (mine.pub.pem: ",
    ),
}


@pytest.mark.parametrize(("change", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_signature_is_refused(
    hub: Any,
    folder: Path,
    keys: tuple[Path, Path],
    ask: Callable[..., None],
    change: Callable[[bytes], bytes],
    reason: str,
    left_in_store: Callable[[], list[str]],
) -> None:
    sign(folder, keys[0])
    push(hub, folder)
    content = change((folder / SIGNATURE_FILE).read_bytes())
    hub.api().create_commit("me/small", [operation(SIGNATURE_FILE, content)], commit_message="changed")
    ask("require")
    assert refusal(hub).startswith(reason)
    assert left_in_store() == []


def test_a_push_refuses_a_signature_of_other_files_and_takes_an_old_one_away(
    hub: Any, folder: Path, keys: tuple[Path, Path]
) -> None:
    sign(folder, keys[0])
    push(hub, folder)
    (folder / "generation_config.json").write_text("{}")
    with pytest.raises(errors.PushRefused) as caught:
        push(hub, folder)
    assert caught.value.reason == (
        "model.sig was made for another generation_config.json; sign the folder again with zoo sign"
    )
    (folder / SIGNATURE_FILE).unlink()
    push(hub, folder)
    assert SIGNATURE_FILE not in hub.api().list_repo_files("me/small")


def test_a_folder_s_signature_is_checked_by_hashing_it(folder: Path, keys: tuple[Path, Path]) -> None:
    sign(folder, keys[0])
    (folder / "train.py").write_text("")
    checkpoint = zoo.pull(folder)
    assert verify_checkpoint(checkpoint) is None
    assert verify_checkpoint(checkpoint, (keys[1],)) == signatures.SignedBy(keys[1], 5)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.raises(errors.SignatureRefused) as caught:
        verify_checkpoint(checkpoint, (keys[1],))
    assert caught.value.reason == "its file model.safetensors is not the one that was signed"


def test_keys_that_are_none_are_told(folder: Path, tmp_path: Path, keys: tuple[Path, Path]) -> None:
    (tmp_path / "no.pem").write_text("no key")
    for path in (tmp_path / "no.pem", tmp_path / "missing.pem", keys[1]):
        with pytest.raises(errors.InvalidInput) as caught:
            sign(folder, path)
        assert str(caught.value).startswith(f"The key '{path}' cannot sign (")
        assert str(caught.value).endswith(f"Make one with: {signatures.MAKE_KEYS}")
    sign(folder, keys[0])
    with pytest.raises(errors.InvalidInput, match=f"The public key '{tmp_path}/no.pem' cannot be used"):
        verify_checkpoint(zoo.pull(folder), (tmp_path / "no.pem",))


def test_without_the_extra_the_error_says_what_to_install(
    hub: Any, folder: Path, keys: tuple[Path, Path], ask: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(folder, keys[0])
    push(hub, folder)
    ask("require")
    monkeypatch.delitem(sys.modules, "zoo.hub.statements", raising=False)
    monkeypatch.delattr("zoo.hub.statements", raising=False)
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(errors.ExtraMissing) as caught:
        zoo.pull("me/small", endpoint=hub.endpoint)
    assert str(caught.value) == (
        "For signatures Zoo needs more packages (import of model_signing halted; None in sys.modules). "
        "Try: pip install 'zoo[sign]'"
    )
    with pytest.raises(errors.ExtraMissing):
        sign(folder, keys[0])


def test_the_policy_is_read_strictly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CONFIG", str(tmp_path / "config.toml"))
    assert signature_policy("acme").policy == "off"
    (tmp_path / "config.toml").write_text('[signatures.Acme]\nkeys = ["a.pem", "/etc/b.pem"]\n')
    policy = signature_policy("acme")
    assert (policy.policy, policy.keys) == ("warn", (tmp_path / "a.pem", Path("/etc/b.pem")))
    for text in ('policy = "maybe"', "policy = 3", 'keys = "a.pem"', "keys = [1]", 'key = "a.pem"'):
        (tmp_path / "config.toml").write_text(f"[signatures.acme]\n{text}\n")
        with pytest.raises(errors.InvalidConfiguration) as caught:
            signature_policy("acme")
        assert caught.value.reason == (
            '[signatures.acme] takes policy, one of "off", "warn" and "require", and keys, a list of files'
        )
    (tmp_path / "config.toml").write_text('signatures = "require"\n')
    with pytest.raises(errors.InvalidConfiguration):
        signature_policy("acme")


def test_signing_checks_that_it_is_a_checkpoint(folder: Path, keys: tuple[Path, Path]) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(errors.NotACheckpoint):
        sign(folder, keys[0])
    with pytest.raises(errors.NotACheckpoint):
        check_folder(folder)
