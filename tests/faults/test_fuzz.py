"""Mutated files: whatever a header or a config.json holds, it is read or refused with a ZooError, and nothing else happens.

ZOO_FUZZ_CASES in the environment says how many of each to draw; 1,500 without it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CASES = int(os.environ.get("ZOO_FUZZ_CASES", "1500"))
SHARDS = 2  # processes for each kind: a core each
GROWTH_BYTES = 400_000_000


def fuzz(kind: str, shard: int, folder: Path) -> dict[str, Any]:
    """Read this shard's mutated files in a process of its own, and give its account."""
    cases = -(-CASES // SHARDS)
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.fuzzing", kind, str(cases), str(shard), str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    account: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(account)
    assert account["cases"] >= cases
    assert account["grown_bytes"] < GROWTH_BYTES
    return account


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_mutated_header_is_read_or_refused_and_nothing_else_happens(shard: int, tmp_path: Path) -> None:
    account = fuzz("headers", shard, tmp_path)
    assert set(account["outcomes"]) == {"read", "CorruptFile"}
    assert set(account["events"]) == {"open"}


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_mutated_config_is_read_or_refused_and_nothing_else_happens(shard: int, tmp_path: Path) -> None:
    account = fuzz("configs", shard, tmp_path)
    refused = {"CorruptFile", "InvalidConfig", "NotACheckpoint", "UnknownArchitecture", "UnknownConfigKey"}
    assert {"read", "WeightsMismatch"} | refused <= set(account["outcomes"])
    assert set(account["events"]) <= {"open", "os.scandir", "os.listdir", "pathlib.Path.glob", "pathlib.Path.rglob"}
