"""Large objects: what the batch endpoint grants, what it does not, and that only the declared bytes get in."""

import errno
import hashlib
import io
import os
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from huggingface_hub.errors import RepositoryNotFoundError

REPO = "me/toy"
CONTENT = bytes(range(251)) * 10  # 2510 bytes: seven parts of 400, the last one shorter
OID = hashlib.sha256(CONTENT).hexdigest()
NOT_SIGNED = "This address carries no signature. Ask the LFS batch endpoint for one."
TAMPERED = "This address's signature does not fit it. Ask the LFS batch endpoint for a new one."


def ask(http, oid=OID, size=2510, repo=REPO, operation="upload", transfers=("basic", "multipart")):
    """The batch endpoint's answer for one object."""
    body = {"operation": operation, "transfers": list(transfers), "objects": [{"oid": oid, "size": size}]}
    answer = http.post(f"/{repo}.git/info/lfs/objects/batch", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["objects"][0]


def changed(address: str, **fields: str) -> str:
    """The address with some fields of its query changed; None takes one away."""
    parts = urlsplit(address)
    query = {**dict(parse_qsl(parts.query)), **fields}
    return parts._replace(query=urlencode({key: value for key, value in query.items() if value is not None})).geturl()


def stored(hub) -> list[str]:
    """The objects that came through LFS: all but the first commit's .gitattributes."""
    return [path.name for path in (hub.data / "objects").glob("*/*") if b"filter=lfs" not in path.read_bytes()]


def test_a_large_file_comes_back_byte_for_byte(hub, api, tmp_path, no_xet):
    content = hashlib.shake_256(b"weights").digest(11 * 1024 * 1024)
    source = tmp_path / "model.safetensors"
    source.write_bytes(content)
    api.upload_file(repo_id=REPO, path_in_repo="model.safetensors", path_or_fileobj=source)
    path = api.hf_hub_download(REPO, "model.safetensors")
    assert Path(path).read_bytes() == content
    lfs = api.get_paths_info(REPO, ["model.safetensors"])[0].lfs
    assert (lfs.sha256, lfs.size) == (hashlib.sha256(content).hexdigest(), len(content))
    assert stored(hub) == [lfs.sha256]


def test_a_file_object_goes_through_lfs_without_a_setting(api):
    api.upload_file(repo_id=REPO, path_in_repo="m.safetensors", path_or_fileobj=io.BytesIO(CONTENT))
    assert Path(api.hf_hub_download(REPO, "m.safetensors")).read_bytes() == CONTENT


def test_a_file_in_parts_comes_back_byte_for_byte(registry_with, tmp_path, no_xet):
    registry = registry_with(multipart_bytes=1000, part_bytes=400)
    registry.api.upload_file(repo_id=REPO, path_in_repo="m.bin", path_or_fileobj=CONTENT)
    assert Path(registry.api.hf_hub_download(REPO, "m.bin")).read_bytes() == CONTENT
    assert list((tmp_path / "limited" / "parts").iterdir()) == []
    assert list((tmp_path / "limited" / "arriving").iterdir()) == []


def test_what_the_repository_holds_needs_no_upload(api, http, no_xet):
    api.upload_file(repo_id=REPO, path_in_repo="m.bin", path_or_fileobj=CONTENT)
    assert ask(http) == {"oid": OID, "size": len(CONTENT)}


def test_what_only_another_repository_holds_must_be_uploaded(api, http, no_xet):
    api.create_repo("me/other")
    api.upload_file(repo_id="me/other", path_in_repo="m.bin", path_or_fileobj=CONTENT)
    assert set(ask(http)["actions"]) == {"upload", "verify"}


def test_verify_knows_the_object_and_its_size(api, http, no_xet):
    api.upload_file(repo_id=REPO, path_in_repo="m.bin", path_or_fileobj=CONTENT)
    address = f"/{REPO}.git/info/lfs/objects/verify"
    assert http.post(address, json={"oid": OID, "size": len(CONTENT)}).status_code == 200
    answer = http.post(address, json={"oid": OID, "size": 7})
    assert (answer.status_code, answer.json()) == (422, {"error": f"Object {OID} has 2510 bytes, not 7."})
    answer = http.post(address, json={"oid": "0" * 64, "size": 7})
    assert (answer.status_code, answer.json()) == (404, {"error": f"Object {'0' * 64} was not uploaded to me/toy."})


def test_bytes_with_another_sha256_are_refused(hub, api, http, stranger):
    address = ask(http)["actions"]["upload"]["href"]
    wrong = CONTENT[:-1] + b"!"
    answer = stranger.put(address, content=wrong)
    assert (answer.status_code, answer.json()) == (
        422,
        {
            "error": f"Object {OID} was declared, but the sha256 of the bytes that came is "
            f"{hashlib.sha256(wrong).hexdigest()}."
        },
    )
    assert (stored(hub), list((hub.data / "arriving").iterdir())) == ([], [])


def test_more_or_fewer_bytes_than_declared_are_refused(hub, api, http, stranger):
    address = ask(http)["actions"]["upload"]["href"]
    for content, status, message in (
        (CONTENT + b"!", 413, "The address is for 2510 bytes, but the request announces 2511."),
        (CONTENT[:-1], 413, "The address is for 2510 bytes, but the request announces 2509."),
        (iter([CONTENT, b"!"]), 413, "2510 bytes were declared, but more are coming."),
        (iter([CONTENT[:-1]]), 400, "2510 bytes were declared, but only 2509 came."),
    ):
        answer = stranger.put(address, content=content)
        assert (answer.status_code, answer.json()) == (status, {"error": message})
    assert (stored(hub), list((hub.data / "arriving").iterdir())) == ([], [])


def test_unsigned_and_tampered_addresses_are_refused(hub, api, http, stranger):
    api.create_repo("me/other")
    address = ask(http)["actions"]["upload"]["href"]
    unsigned = address.partition("?")[0]
    elsewhere = address.replace("me/toy", "me/other")
    other_oid = hashlib.sha256(b"other").hexdigest()
    for attempt, message in (
        (unsigned, NOT_SIGNED),
        (changed(address, signature="0" * 64), TAMPERED),
        (changed(address, size="5"), TAMPERED),
        (changed(address, expires="99999999999"), TAMPERED),
        (changed(address, more="x"), TAMPERED),
        (address.replace(OID, other_oid), TAMPERED),
        (elsewhere, TAMPERED),
    ):
        answer = stranger.put(attempt, content=CONTENT)
        assert (answer.status_code, answer.json()) == (403, {"error": message})
    assert stored(hub) == []
    assert stranger.put(address, content=CONTENT).status_code == 200
    assert stored(hub) == [OID]


def test_the_token_does_not_replace_the_signature(api, http):
    answer = http.put(ask(http)["actions"]["upload"]["href"].partition("?")[0], content=CONTENT)
    assert (answer.status_code, answer.json()) == (403, {"error": NOT_SIGNED})


def test_an_expired_address_is_refused(registry_with):
    registry = registry_with(grant_seconds=-1)
    answer = registry.http.put(ask(registry.http)["actions"]["upload"]["href"], content=CONTENT)
    assert answer.status_code == 403
    message = answer.json()["error"]
    assert message.startswith("This address expired at 20")
    assert message.endswith("Z. Ask the LFS batch endpoint for a new one.")


def test_a_refusal_reaches_a_client_that_is_still_sending(api, http, stranger):
    address = ask(http, size=30_000_000)["actions"]["upload"]["href"]
    answer = stranger.put(changed(address, size="1"), content=bytes(30_000_000))
    assert (answer.status_code, answer.json()) == (403, {"error": TAMPERED})


def test_an_address_dies_with_its_repository(hub, api, http, stranger):
    address = ask(http)["actions"]["upload"]["href"]
    api.delete_repo(REPO)
    assert stranger.put(address, content=CONTENT).headers["X-Error-Code"] == "RepoNotFound"
    api.create_repo(REPO)
    answer = stranger.put(address, content=CONTENT)
    assert (answer.status_code, answer.json()) == (403, {"error": TAMPERED})


def test_parts_are_checked_one_by_one_and_as_a_whole(registry_with):
    registry = registry_with(multipart_bytes=1000, part_bytes=400)
    upload = ask(registry.http)["actions"]["upload"]
    header = upload["header"]
    assert sorted(header) == ["1", "2", "3", "4", "5", "6", "7", "chunk_size"]
    parts = [CONTENT[start : start + 400] for start in range(0, len(CONTENT), 400)]

    def complete(etags: list[str]):
        listed = [{"partNumber": number, "etag": etag} for number, etag in enumerate(etags, start=1)]
        return registry.http.post(upload["href"], json={"oid": OID, "parts": listed})

    answer = registry.http.put(header["7"], content=parts[0])
    assert answer.json() == {"error": "The address is for 110 bytes, but the request announces 400."}
    assert registry.http.put(changed(header["1"], part="2"), content=parts[1]).json() == {"error": TAMPERED}
    etags = [
        registry.http.put(header[str(number)], content=part).headers["ETag"] for number, part in enumerate(parts, 1)
    ]
    assert etags[0] == f'"{hashlib.sha256(parts[0]).hexdigest()}"'

    missing = "Part 7 of 7 has not arrived, or with other bytes. Send it again."
    assert complete(etags[:6]).json() == {"error": missing}
    assert complete([*etags[:6], etags[0]]).json() == {"error": missing}
    assert complete(["../../x"] * 7).json() == {
        "error": "The completion request is not {'oid': ..., 'parts': [{'partNumber', 'etag'}]}."
    }
    assert registry.http.post(changed(upload["href"], size="1"), json={}).json() == {"error": TAMPERED}
    assert complete(etags).json() == {"oid": OID, "size": 2510}
    assert complete(etags).json() == {"oid": OID, "size": 2510}  # the answer was lost, the client asks again


def test_parts_that_do_not_make_the_object_are_refused(registry_with, tmp_path):
    registry = registry_with(multipart_bytes=1000, part_bytes=400)
    upload = ask(registry.http)["actions"]["upload"]
    wrong = b"!" + CONTENT[1:]
    etags = [
        registry.http.put(upload["header"][str(number)], content=wrong[start : start + 400]).headers["ETag"]
        for number, start in enumerate(range(0, len(wrong), 400), start=1)
    ]
    parts = [{"partNumber": number, "etag": etag} for number, etag in enumerate(etags, start=1)]
    answer = registry.http.post(upload["href"], json={"oid": OID, "parts": parts})
    assert (answer.status_code, answer.json()) == (
        422,
        {
            "error": f"Object {OID} was declared, but the sha256 of the bytes that came is "
            f"{hashlib.sha256(wrong).hexdigest()}."
        },
    )
    assert list((tmp_path / "limited" / "parts").iterdir()) == []


def test_a_client_without_multipart_gets_one_address(registry_with):
    registry = registry_with(multipart_bytes=1000, part_bytes=400)
    assert "header" not in ask(registry.http, transfers=["basic"])["actions"]["upload"]


def test_batch_needs_the_token_for_uploads_and_hides_private_repositories(hub, api, stranger, http):
    body = {"operation": "upload", "objects": [{"oid": OID, "size": 1}]}
    assert stranger.post(f"/{REPO}.git/info/lfs/objects/batch", json=body).status_code == 401
    api.update_repo_settings(REPO, private=True)
    for operation in ("upload", "download"):
        answer = stranger.post(f"/{REPO}.git/info/lfs/objects/batch", json={**body, "operation": operation})
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RepoNotFound")


def test_batch_refuses_what_is_malformed(api, http):
    address = f"/{REPO}.git/info/lfs/objects/batch"
    for body, message in (
        ({"operation": "steal", "objects": []}, "LFS operation 'steal' is not one of 'upload' and 'download'."),
        ({"operation": "upload"}, "The request's body needs 'objects', a list of {'oid', 'size'}."),
        (
            {"operation": "upload", "objects": [{"oid": OID.upper(), "size": 1}]},
            f"Object id '{OID.upper()}' is not a sha256: 64 lowercase hexadecimal digits are expected.",
        ),
        ({"operation": "upload", "objects": [{"oid": OID, "size": -1}]}, "Size -1 is not a number of bytes."),
        (
            {"operation": "upload", "objects": [], "hash_algo": "sha512"},
            "LFS hash algorithm 'sha512' is not supported; use sha256.",
        ),
    ):
        answer = http.post(address, json=body)
        assert (answer.status_code, answer.json()) == (400, {"error": message})


def test_git_lfs_can_download_what_the_repository_holds(api, http, stranger, no_xet):
    api.upload_file(repo_id=REPO, path_in_repo="m.bin", path_or_fileobj=CONTENT)
    address = ask(stranger, operation="download")["actions"]["download"]["href"]
    assert stranger.get(address).content == CONTENT
    assert stranger.get(address.partition("?")[0]).json() == {"error": NOT_SIGNED}
    assert ask(http, oid="0" * 64, operation="download")["error"] == {
        "code": 404,
        "message": f"Object {'0' * 64} was not uploaded to me/toy.",
    }


def test_xet_transfers_are_refused_with_the_way_out(hub, api, http):
    answer = http.get(f"/api/models/{REPO}/xet-write-token/main")
    assert (answer.status_code, answer.json()) == (
        404,
        {"error": "This registry does not take Xet transfers. Set HF_HUB_DISABLE_XET=1 and try again."},
    )


def test_uploads_to_a_missing_repository_say_so(hub, no_xet):
    with pytest.raises(RepositoryNotFoundError):
        hub.api().upload_file(repo_id="me/none", path_in_repo="m.bin", path_or_fileobj=CONTENT)


def test_leftovers_of_uploads_go_away_at_a_later_start(hub, api):
    from zoo_registry.server.objects import ObjectStore

    old, fresh, folder = hub.data / "arriving" / "old", hub.data / "arriving" / "fresh", hub.data / "parts" / "dead"
    folder.mkdir()
    for path in (old, fresh, folder / "1-x"):
        path.write_bytes(b"left")
    for path in (old, folder):
        os.utime(path, (0, 0))
    ObjectStore(hub.data)
    assert (old.exists(), fresh.exists(), folder.exists()) == (False, True, False)


def test_a_full_disk_is_said_and_nothing_is_kept(hub, api, http, stranger, monkeypatch):
    def write(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    address = ask(http)["actions"]["upload"]["href"]
    monkeypatch.setattr("zoo_registry.server.objects.Writer.write", write)
    answer = stranger.put(address, content=CONTENT)
    assert (answer.status_code, answer.json()) == (
        507,
        {"error": "The registry's disk is full. Make room in its data folder, then try again."},
    )
    assert (stored(hub), list((hub.data / "arriving").iterdir())) == ([], [])


def test_a_fault_of_our_own_is_logged_and_answered_in_json(api, http, monkeypatch, caplog):
    monkeypatch.setattr("zoo_registry.server.routes.lfs.held_size", None)
    answer = http.post(f"/{REPO}.git/info/lfs/objects/verify", json={"oid": OID, "size": 1})
    assert (answer.status_code, answer.json()) == (
        500,
        {"error": "The registry failed on this request; its log says why."},
    )
    assert "POST /me/toy.git/info/lfs/objects/verify failed" in caplog.text
