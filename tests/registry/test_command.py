"""`zoo serve` as a user starts it: in a process of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from huggingface_hub import HfApi

from zoo_registry.command import serve

START = [sys.executable, "-m", "zoo.cli.main", "serve"]


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """The process, and the endpoint that its first line of output names."""
    process = subprocess.Popen(
        [*START, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        line = process.stdout.readline()
        endpoint = re.fullmatch(r"Zoo registry at (http://127\.0\.0\.1:\d+) \(data: .*\)\n", line)
        assert endpoint, line + process.stderr.read()
        yield process, endpoint[1]
    finally:
        process.kill()
        process.wait()


def ended(process: subprocess.Popen, number: int) -> tuple[int, str, str]:
    """Exit status, further output and error output after a signal."""
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    return process.returncode, out, err


def test_it_serves_until_a_signal_and_ends_well(tmp_path):
    with started("--data", str(tmp_path / "hub"), "--port", "0", "--token", "mine") as (process, endpoint):
        api = HfApi(endpoint=endpoint, token="mine")
        api.create_repo("me/toy")
        api.upload_file(repo_id="me/toy", path_in_repo="a.txt", path_or_fileobj=b"a")
        assert ended(process, signal.SIGTERM) == (0, "", "")


def test_a_token_is_made_once_shown_once_and_stays_valid(tmp_path):
    data = tmp_path / "hub"
    with started("--data", str(data), "--port", "0") as (process, endpoint):
        code, _, err = ended(process, signal.SIGINT)
    found = re.fullmatch(r"Token that may write \(shown only now, keep it\): (hf_[0-9a-f]{40})\n", err)
    assert found, err
    assert code == 0
    token = found[1]
    with started("--data", str(data), "--port", "0") as (process, endpoint):
        assert HfApi(endpoint=endpoint, token=token).whoami()["name"] == "zoo"
        assert ended(process, signal.SIGINT) == (0, "", "The known token stays valid; --token replaces it.\n")
    assert token.encode() not in b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())


def test_a_port_in_use_is_said_with_the_way_out(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(serve, ["--data", str(tmp_path / "hub"), "--port", port])
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: Can't listen on 127.0.0.1:{port}: Address already in use. Try: another --port or --host\n"
    )
    assert not (tmp_path / "hub").exists()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "registry.sqlite").write_bytes(b"not a database, but long enough to be read as one" * 20)
    result = CliRunner().invoke(serve, ["--data", str(tmp_path), "--port", "0"])
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {tmp_path / 'registry.sqlite'} is not a registry's database: file is not a database. "
        "Try: another --data folder\n"
    )


def test_a_token_that_no_header_can_carry_is_refused(tmp_path):
    for token in ("", "with space", "line\nbreak", "schlüssel"):
        result = CliRunner().invoke(serve, ["--data", str(tmp_path), "--token", token])
        assert result.exit_code == 2
        assert result.stderr.endswith(
            "Error: Invalid value for --token: use printable ASCII characters without spaces.\n"
        )


def test_without_the_server_extra_it_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['starlette'] = None\n"  # as if it were not installed
        f"from zoo_registry.command import serve; serve(['--data', {str(tmp_path)!r}])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == (
        'Error: The registry server needs starlette, which is not installed. Try: pip install "zoo-registry[server]"\n'
    )


def test_help_has_an_example_and_imports_no_server():
    code = (
        "import sys; from click.testing import CliRunner; from zoo_registry.command import serve;"
        "print(CliRunner().invoke(serve, ['--help']).output);"
        "print([name for name in ('starlette', 'uvicorn', 'sqlalchemy', 'torch') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "  Example: zoo serve --data ./hub\n" in output
    assert output.endswith("[]\n")


def test_the_command_is_registered_under_its_entry_point():
    from importlib.metadata import entry_points

    (entry,) = entry_points(group="zoo.commands", name="serve")
    assert entry.value == "zoo_registry.command"


@pytest.mark.parametrize("name", ["registry.sqlite", "objects"])
def test_the_data_folder_is_made_on_first_use(hub, name):
    assert (Path(hub.data) / name).exists()
