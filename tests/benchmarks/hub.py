"""Pulling, side by side with huggingface_hub's snapshot_download, over loopback: `make bench-hub`.

Each run is a process of its own with an empty store; the two take turns. Times begin after imports, and after another
small repository has been fetched, so that whatever is done once a process is done; they end when the checkpoint can be
used, for Zoo with every byte verified and flushed. In memory the two clients are compared; on a disk the disk is measured
too, for Zoo's files are flushed and the other's are not. Peak memory is that beyond what was taken until then. One server,
a process too, serves both.

Small files stay until the end: ext4 takes no inode again that was freed within the last minutes, and looks for another one
by one, so that what is removed after one run slows the next (400 links and files then take up to 0.1 s more). For the same
reason `--work` should name a folder on a part of the disk where nothing was removed just now.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))

SMALL_FILES, SMALL_BYTES = 200, 16_000
MEMORY = "/dev/shm"
CHUNK_BYTES = 1 << 24


def write_weights(path: Path, data_bytes: int) -> None:
    """Write a safetensors file with one tensor of random bytes."""
    header = json.dumps({"weight": {"dtype": "U8", "shape": [data_bytes], "data_offsets": [0, data_bytes]}}).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for begin in range(0, data_bytes, CHUNK_BYTES):
            file.write(os.urandom(min(CHUNK_BYTES, data_bytes - begin)))


def prepare(folder: Path, case: str, data_bytes: int) -> None:
    """Make a repository: one large file, or many small ones."""
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    write_weights(folder / "model.safetensors", data_bytes if case == "large" else 1000)
    if case == "small":
        for index in range(SMALL_FILES - 2):
            (folder / f"extra-{index:03}.json").write_text(os.urandom(SMALL_BYTES // 2).hex())


def serve(folder: str) -> None:
    """Serve a folder, and one to begin with, until the standard input ends. Prints both addresses."""
    from tests.faults.server import faulty_hub

    with faulty_hub() as hub, faulty_hub("me/first") as first:
        hub.commit(Path(folder))
        first.commit(Path(f"{folder}-first"))
        print(hub.endpoint, first.endpoint, flush=True)
        sys.stdin.read()


def fetch(who: str, endpoint: str, first: str) -> None:
    """Fetch once, and print seconds and peak memory beyond the beginning, in bytes."""
    from tests.faults.server import REPO_ID

    if who == "zoo":
        from zoo.hub.pulling import pull

        def go(repo_id: str, endpoint: str) -> None:
            pull(repo_id, endpoint=endpoint, include=["*"])
    else:
        from huggingface_hub import snapshot_download

        def go(repo_id: str, endpoint: str) -> None:
            snapshot_download(repo_id, endpoint=endpoint)

    go("me/first", first)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    go(REPO_ID, endpoint)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "peak_bytes": (peak - before) * 1024}))


def check(home: Path) -> None:
    """Let the unmodified client's own verification look at the store."""
    from huggingface_hub import scan_cache_dir

    assert not scan_cache_dir(home / "hub").warnings


def run(who: str, endpoint: str, first: str, work: Path, keep: bool) -> dict[str, float]:
    """Fetch in a process with an empty home, which is removed afterwards unless it is to be kept."""
    home = Path(tempfile.mkdtemp(dir=work))
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment = {**os.environ, **quiet, "HF_HOME": str(home)}
    command = [sys.executable, __file__, "--fetch", who, "--endpoint", endpoint, "--first", first]
    begin = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    whole = time.perf_counter() - begin
    check(home)
    if not keep:
        shutil.rmtree(home)
    return {**json.loads(done.stdout.splitlines()[-1]), "process_seconds": whole}


def compare(case: str, data_bytes: int, rounds: int, work: Path) -> None:
    """Let both take turns, and print medians, ranges and ratios."""
    prepare(work / case, case, data_bytes)
    prepare(work / f"{case}-first", "large", 1000)
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(work / case)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None and server.stdin is not None
    endpoint, first = server.stdout.readline().split()
    names = ("zoo", "snapshot_download")
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            runs[name].append(run(name, endpoint, first, work, keep=case == "small"))
    server.stdin.close()
    server.wait()
    for name in names:
        seconds = [one["seconds"] for one in runs[name]]
        peak = max(one["peak_bytes"] for one in runs[name]) / 1e6
        print(f"{case:6} {name:18} {median(seconds):7.3f} s [{min(seconds):.3f} to {max(seconds):.3f}], {peak:.0f} MB")
    for key, what in (("seconds", "once begun"), ("process_seconds", "whole processes")):
        pairs = list(zip(*(runs[name] for name in names), strict=True))
        ratios = [theirs[key] / ours[key] for ours, theirs in pairs]
        print(f"{case:6} ratio {what}: {median(ratios):.2f} [{min(ratios):.2f} to {max(ratios):.2f}]", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=("large", "small"), action="append")
    parser.add_argument("--megabytes", type=int, default=1000, help="of the large file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", help="a folder to measure in; default: the temporary one, then memory")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--fetch", help=argparse.SUPPRESS)
    parser.add_argument("--endpoint", help=argparse.SUPPRESS)
    parser.add_argument("--first", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    elif options.fetch:
        fetch(options.fetch, options.endpoint, options.first)
    else:
        for folder in [options.work] if options.work else [None, *filter(os.path.isdir, [MEMORY])]:
            with tempfile.TemporaryDirectory(prefix="zoo-bench-", dir=folder) as work:
                print(f"in {folder or tempfile.gettempdir()}:")
                for case in options.case or ("large", "small"):
                    compare(case, options.megabytes * 1_000_000, options.rounds, Path(work))


if __name__ == "__main__":
    main()
