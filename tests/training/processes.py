"""Ranks for tests: real processes with gloo between them, forked from one that has imported torch already."""

import multiprocessing
import os
import random
import socket
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

PRELOADED = [
    "tests.training.samples",
    "zoo.training.finetuning",
    "zoo.training.distillation",
    "zoo.training.pretraining",
]
SECONDS = 120


os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # as `zoo --nproc-per-node` has it


def run_ranks(count: int, job: Callable[..., Any], *arguments: Any, **options: Any) -> list[Any]:
    """Call a job of a module in `count` processes that are ranks together, or one that is alone; give what each gave.

    Raises AssertionError with the traceback of the first that failed; what a job may fail with, it gives back instead.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    port = _free_port()
    processes, readers = [], []
    for rank in range(count):
        facts = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = dict(os.environ) | ({name: str(value) for name, value in facts.items()} if count > 1 else {})
        reader, writer = context.Pipe(duplex=False)
        processes.append(
            context.Process(
                target=_be_rank, args=(writer, environment, partial(job, *arguments, **options)), daemon=True
            )
        )
        readers.append(reader)
        processes[-1].start()
        writer.close()
    try:
        return _results(readers)
    finally:
        for process in processes:
            process.join(5)
            process.kill()
            process.join()


def _free_port() -> int:
    """Give a port that the system hands to nobody by itself, as it would one of its own choice to a server beside this."""
    while True:
        port = random.SystemRandom().randrange(10_000, 30_000)
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _results(readers: list[Connection]) -> list[Any]:
    found: dict[Connection, Any] = {}
    while len(found) < len(readers):
        ready = wait([reader for reader in readers if reader not in found], SECONDS)
        assert ready, "the ranks hang"
        for reader in ready:
            assert isinstance(reader, Connection)
            try:
                failed, found[reader] = reader.recv()
            except EOFError:
                failed, found[reader] = False, None  # it was killed, as a test wished
            assert not failed, found[reader]
    return [found[reader] for reader in readers]


def _be_rank(writer: Connection, environment: Mapping[str, str], job: Callable[[], Any]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        writer.send((False, job()))
    except BaseException:
        writer.send((True, traceback.format_exc()))
