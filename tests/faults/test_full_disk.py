"""A disk that fills up while a checkpoint arrives: a small file system of its own, in a namespace of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.conftest import make_checkpoint
from tests.faults.server import FaultyHub, faulty_hub

DISK_BYTES = 24_000_000
SCRIPT = """
import os, sys, pathlib
import zoo
from zoo import errors

endpoint, disk = sys.argv[1], pathlib.Path(sys.argv[2])
ballast = disk / "ballast"

class Filling:
    # Takes the room away once some of the checkpoint is here.
    def asked(self, endpoint): pass
    def waits(self, repo_id): pass
    def advanced(self, name, count, size_bytes):
        self.seen = getattr(self, "seen", 0) + count
        if self.seen > 4_000_000 and not ballast.exists():
            with ballast.open("wb") as file:
                try:
                    while True:
                        file.write(bytes(1 << 16)); file.flush()
                except OSError:
                    pass

from zoo.hub.pulling import pull
kept = zoo.pull("me/kept", endpoint=sys.argv[3])
before = {path: path.read_bytes() for path in kept.path.iterdir()}
try:
    pull("me/faulty", endpoint=endpoint, watcher=Filling())
except errors.NotEnoughDisk as error:
    print(error)
else:
    print("no error")
assert {path: path.read_bytes() for path in kept.path.iterdir()} == before
assert zoo.pull("me/kept", local_only=True) == kept
blobs = disk / "hub" / "models--me--faulty" / "blobs"
print(sum(path.stat().st_size for path in blobs.glob("*.partial")) > 2_000_000)
ballast.unlink()
print(zoo.pull("me/faulty", endpoint=endpoint).path)
"""


def may_mount() -> bool:
    """Tell whether this process may mount a file system of its own."""
    done = (
        subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
        if shutil.which("unshare")
        else None
    )
    return done is not None and done.returncode == 0


@pytest.mark.skipif(not may_mount(), reason="this process may not mount a file system")
def test_a_full_disk_is_a_clear_error_the_store_is_intact_and_the_next_pull_goes_on(
    faulty: FaultyHub, tmp_path: Path
) -> None:
    folder = make_checkpoint(tmp_path / "large", seed=5, hidden_size=48, vocab_size=40_000)  # 8 MB
    faulty.commit(folder)
    size_bytes = sum(path.stat().st_size for path in folder.iterdir())
    disk = tmp_path / "disk"
    disk.mkdir()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with faulty_hub(repo_id="me/kept") as other:
        other.commit(make_checkpoint(tmp_path / "kept", seed=1))
        command = (
            f"mount -t tmpfs -o size={DISK_BYTES} none {disk} && {sys.executable} {script} {faulty.endpoint} {disk}"
        )
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", f"{command} {other.endpoint}"],
            env={**os.environ, "HF_HOME": str(disk)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    message, has_resumed, path = done.stdout.splitlines()
    assert message.startswith(f"The disk of {disk}/hub/models--me--faulty/blobs has 0.0 MB free, and ")
    assert message.endswith("are needed. Free some with zoo rm, or put the store elsewhere with HF_HOME")
    assert has_resumed == "True"
    faulty.settle()
    assert size_bytes <= faulty.file_bytes <= size_bytes + (8 << 20)
    assert path.startswith(str(disk))
