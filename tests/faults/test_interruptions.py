"""Connections that end, servers that fail and processes that die: the right bytes in the end, hardly any fetched twice."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.faults.conftest import make_checkpoint
from tests.faults.server import NONE, REPO_ID, Fault, FaultyHub
from zoo import errors
from zoo.hub.partial import JOURNAL_BYTES
from zoo.hub.pulling import pull

POINTS = int(os.environ.get("ZOO_FAULTS", "12"))
"""How often processes are killed and connections cut; 50 in `make test-all`."""
INTERVAL_BYTES = 8 << 20


def same_files(pulled: Path, folder: Path) -> bool:
    """Tell whether all files that were pulled are as they were published."""
    names = [path.name for path in pulled.iterdir()]
    assert "model.safetensors" in names
    return all((pulled / name).read_bytes() == (folder / name).read_bytes() for name in names)


def cut_at(points: Iterator[int], reset: bool) -> Callable[[str, str], Fault]:
    """Cut each answer with weights after the next number of bytes, until there are none left."""

    def judge(method: str, path: str) -> Fault:
        point = next(points, None) if path.endswith(".safetensors") else None
        return NONE if point is None else Fault(cut_after=point, reset=reset)

    return judge


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_cut_at_random_points_the_bytes_are_right_and_hardly_any_come_twice(
    faulty: FaultyHub, tmp_path: Path, chance: random.Random, reset: bool
) -> None:
    folder = make_checkpoint(tmp_path / "medium", seed=5, hidden_size=48, vocab_size=10_000)  # 2 MB
    faulty.commit(folder)
    size_bytes = (folder / "model.safetensors").stat().st_size
    points = sorted(chance.sample(range(size_bytes), 50))
    faulty.judge = cut_at(iter([end - begin for begin, end in pairwise([0, *points])]), reset)
    pulled = zoo.pull(REPO_ID, endpoint=faulty.endpoint)
    assert same_files(pulled.path, folder)
    asked = [headers.get("Range", "bytes=0-") for _, path, headers in faulty.requests if path.endswith(".safetensors")]
    assert len(asked) == 51
    begins = [int(text.removeprefix("bytes=").removesuffix("-")) for text in asked]
    if reset:  # the kernel drops what it had and nobody had read yet: that has to come again
        assert begins == sorted(begins)
        assert begins[-1] > 0
    else:
        assert begins == [0, *points]


def test_every_request_for_bytes_names_the_commit_and_what_it_goes_on_from(faulty: FaultyHub, checkpoint: Path) -> None:
    commit = faulty.commit(checkpoint)
    faulty.judge = cut_at(iter([1000, 2000]), reset=False)
    zoo.pull(REPO_ID, endpoint=faulty.endpoint)
    asked = [(path, headers) for _, path, headers in faulty.requests if "/resolve/" in path]
    assert {path.split("/")[4] for path, _ in asked} == {commit}
    assert {method for method, _, _ in faulty.requests} == {"GET"}
    etag = f'"{faulty.commits[commit]["model.safetensors"][1]}"'
    ranges = [
        (headers.get("Range"), headers.get("If-Range")) for path, headers in asked if path.endswith(".safetensors")
    ]
    assert ranges == [(None, None), ("bytes=1000-", etag), ("bytes=3000-", etag)]


def test_killed_at_random_points_a_pull_goes_on_where_it_was(
    faulty: FaultyHub, tmp_path: Path, home: Path, chance: random.Random
) -> None:
    folder = make_checkpoint(tmp_path / "large", seed=5, hidden_size=48, vocab_size=120_000)  # 23 MB
    commit = faulty.commit(folder)
    size_bytes = sum(path.stat().st_size for path in folder.iterdir())
    environment = {**os.environ, "HF_HOME": str(home)}
    command = [sys.executable, "-c", "import sys, zoo; zoo.pull(*sys.argv[1:2], endpoint=sys.argv[2])"]
    fetched, kills = 0, 0
    while kills < POINTS:
        reached = threading.Event()
        limit = faulty.file_bytes + chance.randrange(1, 4 * size_bytes // POINTS)
        faulty.progress = lambda sent, limit=limit, reached=reached: reached.set() if sent >= limit else None
        process = subprocess.Popen([*command, REPO_ID, faulty.endpoint], env=environment)
        while process.poll() is None and not reached.wait(0.005):
            pass
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:  # it was through before it could be killed: begin again
            pulled = zoo.pull(REPO_ID, endpoint=faulty.endpoint, local_only=True)
            assert same_files(pulled.path, folder)
            fetched += size_bytes
            subprocess.run(["rm", "-r", str(home)], check=True)
        else:
            kills += 1
            assert not (home / "hub" / "models--me--faulty" / "snapshots" / commit).exists()
    faulty.progress = lambda sent: None
    pulled = zoo.pull(REPO_ID, endpoint=faulty.endpoint)
    assert same_files(pulled.path, folder)
    fetched += size_bytes
    faulty.settle()
    assert faulty.file_bytes - fetched <= kills * INTERVAL_BYTES


def leave_partial(faulty: FaultyHub, folder: Path, home: Path, size_bytes: int) -> Path:
    """Break a pull off after so many bytes of the weights, and give the file they are in."""
    commit = faulty.commit(folder)
    stopped = threading.Event()
    stopping = Fault(cut_after=size_bytes)
    faulty.judge = lambda method, path: (
        (Fault(status=503) if stopped.is_set() else (stopped.set(), stopping)[1])
        if path.endswith(".safetensors")
        else NONE
    )
    with pytest.raises(errors.HubUnreachable):
        zoo.pull(REPO_ID, endpoint=faulty.endpoint)
    digest = faulty.commits[commit]["model.safetensors"][1]
    partial = home / "hub" / "models--me--faulty" / "blobs" / f"{digest}.partial"
    assert partial.stat().st_size == size_bytes
    return partial


def go_on(faulty: FaultyHub, folder: Path) -> list[int]:
    """Pull without faults, and give where each request for the weights began."""
    faulty.judge = lambda method, path: NONE
    faulty.requests.clear()
    assert same_files(zoo.pull(REPO_ID, endpoint=faulty.endpoint).path, folder)
    ranges = [headers.get("Range", "bytes=0-") for _, path, headers in faulty.requests if path.endswith(".safetensors")]
    return [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in ranges]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A checkpoint whose weights take 3.8 MB."""
    return make_checkpoint(tmp_path / "large", seed=5, hidden_size=48, vocab_size=20_000)


def test_bytes_that_a_dead_process_left_damaged_come_again_and_only_those(
    faulty: FaultyHub, large: Path, home: Path
) -> None:
    partial = leave_partial(faulty, large, home, 3 * JOURNAL_BYTES + 17)
    content = bytearray(partial.read_bytes())
    content[2 * JOURNAL_BYTES + 5] ^= 1
    partial.write_bytes(content)
    begins = go_on(faulty, large)
    assert len(begins) == 1
    assert JOURNAL_BYTES <= begins[0] <= 2 * JOURNAL_BYTES + 5  # what was right is kept


@pytest.mark.parametrize("vouched_bytes", [0, 2 * JOURNAL_BYTES])
@pytest.mark.parametrize("is_right", [True, False])
def test_bytes_that_a_dead_process_had_no_time_to_vouch_for_count_if_they_are_right(
    faulty: FaultyHub, large: Path, home: Path, vouched_bytes: int, is_right: bool
) -> None:
    partial = leave_partial(faulty, large, home, max(1, vouched_bytes))
    whole = (large / "model.safetensors").read_bytes()
    written_bytes = 3 * JOURNAL_BYTES - 1
    journal = partial.with_name(f"{partial.name}.json")
    if not vouched_bytes:
        journal.unlink()  # as a process leaves it that is killed at the beginning
    with partial.open("ab") as file:
        file.write(whole[partial.stat().st_size : written_bytes] if is_right else bytes(JOURNAL_BYTES))
    begins = go_on(faulty, large)
    if is_right:
        assert begins == [written_bytes]
    else:
        assert begins == [max(1, vouched_bytes) + JOURNAL_BYTES, vouched_bytes]
    assert not partial.exists()
    assert not journal.exists()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("where", ["/api/", "config.json", "model.safetensors"])
def test_a_server_that_fails_for_a_while_is_asked_again(
    faulty: FaultyHub, checkpoint: Path, status: int, where: str
) -> None:
    faulty.commit(checkpoint)
    left = iter([Fault(status=status)] * 3)
    faulty.judge = lambda method, path: next(left, NONE) if where in path else NONE
    assert same_files(zoo.pull(REPO_ID, endpoint=faulty.endpoint).path, checkpoint)
    assert next(left, None) is None


@pytest.mark.parametrize("where", ["/api/", "model.safetensors"])
def test_retry_after_is_honoured(faulty: FaultyHub, checkpoint: Path, where: str) -> None:
    faulty.commit(checkpoint)
    times: list[float] = []
    left = iter([Fault(status=429, retry_after="1")])

    def judge(method: str, path: str) -> Fault:
        if where not in path:
            return NONE
        times.append(time.monotonic())
        return next(left, NONE)

    faulty.judge = judge
    assert same_files(zoo.pull(REPO_ID, endpoint=faulty.endpoint).path, checkpoint)
    assert times[1] - times[0] >= 1


@pytest.mark.parametrize("where", ["/api/", "model.safetensors"])
def test_a_server_that_wants_hours_is_an_error_that_says_so(faulty: FaultyHub, checkpoint: Path, where: str) -> None:
    faulty.commit(checkpoint)
    faulty.judge = lambda method, path: Fault(status=429, retry_after="7200") if where in path else NONE
    with pytest.raises(errors.RateLimited) as caught:
        zoo.pull(REPO_ID, endpoint=faulty.endpoint)
    assert caught.value.retry_after_seconds == 7200


def test_a_server_that_never_recovers_ends_in_an_error_that_says_how_far_it_got(
    faulty: FaultyHub, checkpoint: Path
) -> None:
    commit = faulty.commit(checkpoint)
    size_bytes = (checkpoint / "model.safetensors").stat().st_size
    first = iter([Fault(cut_after=5000)])
    faulty.judge = lambda method, path: next(first, Fault(status=503)) if path.endswith(".safetensors") else NONE
    with pytest.raises(errors.HubUnreachable) as caught:
        zoo.pull(REPO_ID, endpoint=faulty.endpoint)
    url = f"{faulty.endpoint}/{REPO_ID}/resolve/{commit}/model.safetensors"
    assert str(caught.value) == (
        f"{url} could not be reached or did not answer as a hub does: 5000 of {size_bytes} bytes came, then: status 503. "
        "Check the network and the address (HF_ENDPOINT, --endpoint), then try again; what was fetched so far is kept"
    )
    faulty.judge = lambda method, path: NONE
    faulty.requests.clear()
    assert same_files(zoo.pull(REPO_ID, endpoint=faulty.endpoint).path, checkpoint)
    ranges = [headers.get("Range") for _, path, headers in faulty.requests if path.endswith(".safetensors")]
    assert ranges == ["bytes=5000-"]


def test_a_server_that_ignores_ranges_gets_there_too_however_often_it_is_cut(
    faulty: FaultyHub, checkpoint: Path, chance: random.Random
) -> None:
    faulty.commit(checkpoint)
    size_bytes = (checkpoint / "model.safetensors").stat().st_size
    points = iter([chance.randrange(size_bytes) for _ in range(5)])

    def judge(method: str, path: str) -> Fault:
        point = next(points, None) if path.endswith(".safetensors") else None
        return Fault(ignore_range=True, cut_after=point)

    faulty.judge = judge
    assert same_files(zoo.pull(REPO_ID, endpoint=faulty.endpoint).path, checkpoint)


def test_a_server_that_falls_silent_is_given_up_after_the_timeout(
    faulty: FaultyHub, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    faulty.commit(checkpoint)
    silent, over = iter([True]), threading.Event()

    def judge(method: str, path: str) -> Fault:
        if path.endswith(".safetensors") and next(silent, False):
            over.wait(5)
        return NONE

    faulty.judge = judge
    begin = time.monotonic()
    assert same_files(zoo.pull(REPO_ID, endpoint=faulty.endpoint).path, checkpoint)
    assert time.monotonic() - begin < 4
    over.set()


def test_a_commit_that_lands_in_the_middle_changes_nothing_of_this_pull(
    faulty: FaultyHub, checkpoint: Path, tmp_path: Path
) -> None:
    first = faulty.commit(checkpoint)
    other = make_checkpoint(tmp_path / "other", seed=4)
    landed: list[str] = []

    def judge(method: str, path: str) -> Fault:
        if "/resolve/" in path and not landed:
            landed.append(faulty.commit(other))
        return (
            Fault(cut_after=3000) if path.endswith(f"{first}/model.safetensors") and len(faulty.requests) < 6 else NONE
        )

    faulty.judge = judge
    pulled = zoo.pull(REPO_ID, endpoint=faulty.endpoint)
    assert pulled.commit == first
    assert same_files(pulled.path, checkpoint)
    again = pull(REPO_ID, endpoint=faulty.endpoint, refresh=True)
    assert again.commit == landed[0]
    assert same_files(again.path, other)


def test_two_processes_share_the_work_though_the_first_is_killed(faulty: FaultyHub, tmp_path: Path, home: Path) -> None:
    folder = make_checkpoint(tmp_path / "large", seed=5, hidden_size=48, vocab_size=40_000)
    faulty.commit(folder)
    size_bytes = sum(path.stat().st_size for path in folder.iterdir())
    environment = {**os.environ, "HF_HOME": str(home)}
    code = "import sys, zoo; print(zoo.pull(sys.argv[1], endpoint=sys.argv[2]).path)"
    command = [sys.executable, "-c", code, REPO_ID, faulty.endpoint]
    halfway, listed, go_on = threading.Event(), threading.Event(), threading.Event()

    def progress(sent: int) -> None:
        if sent > size_bytes // 2 and not halfway.is_set():
            halfway.set()
            go_on.wait(20)

    faulty.progress = progress
    first = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert halfway.wait(30)

    def judge(method: str, path: str) -> Fault:
        listed.set()
        return NONE

    faulty.judge = judge
    command = [sys.executable, "-m", "zoo.cli.main", "pull", REPO_ID, "--endpoint", faulty.endpoint]
    second = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert listed.wait(30)  # it has asked what there is
    assert second.stderr is not None
    assert second.stderr.readline() == f"waiting for another process that fetches {REPO_ID}\n"
    first.send_signal(signal.SIGKILL)
    first.wait()
    go_on.set()
    second.communicate(timeout=60)
    assert second.returncode == 0
    assert same_files(zoo.pull(REPO_ID, endpoint=faulty.endpoint).path, folder)
    faulty.settle()
    assert faulty.file_bytes <= size_bytes + INTERVAL_BYTES


def test_files_of_a_hub_that_is_slow_to_answer_come_eight_at_once(faulty: FaultyHub, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "many", seed=5)
    for number in range(30):
        (folder / f"extra-{number}.json").write_text(f"[{number}]")
    faulty.commit(folder)
    together, lock, asked = threading.Barrier(8), threading.Lock(), 0

    def judge(method: str, path: str) -> Fault:
        nonlocal asked
        if "/resolve/" in path and "extra" in path:
            with lock:
                asked += 1
                is_early = asked <= 8
            if is_early:
                together.wait(30)  # no answer before eight were asked for
        return NONE

    faulty.judge = judge
    assert same_files(pull(REPO_ID, endpoint=faulty.endpoint, include=["*"]).path, folder)
    assert asked == 30
    assert not together.broken


def test_ctrl_c_keeps_what_has_arrived(faulty: FaultyHub, tmp_path: Path, home: Path) -> None:
    folder = make_checkpoint(tmp_path / "large", seed=5, hidden_size=48, vocab_size=20_000)
    commit = faulty.commit(folder)
    halfway, go_on = threading.Event(), threading.Event()

    def progress(sent: int) -> None:
        if sent > 2_500_000 and not halfway.is_set():
            halfway.set()
            go_on.wait(20)

    faulty.progress = progress
    environment = {**os.environ, "HF_HOME": str(home)}
    command = [sys.executable, "-m", "zoo.cli.main", "pull", REPO_ID, "--endpoint", faulty.endpoint]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert halfway.wait(30)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=20)
    go_on.set()
    assert process.returncode == 130
    assert message.splitlines()[-1] == "Interrupted."
    digest: Any = faulty.commits[commit]["model.safetensors"][1]
    assert (home / "hub" / "models--me--faulty" / "blobs" / f"{digest}.partial").stat().st_size >= 2_000_000
