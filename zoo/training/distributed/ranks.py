"""Ranks: the processes that a launcher such as torchrun starts to train one model together.

A process without others is the first rank of one, so that nothing else has to ask whether there are others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from zoo.errors import InvalidInput, RankLost

if TYPE_CHECKING:
    from torch import Tensor

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher sets for each process, in all of torch's world."""

TIMEOUT = timedelta(minutes=30)  # of waiting for the others: the first may have to make a tokenizer or save a model

GRACE_SECONDS = 5  # an agent looks after its processes ten times a second
_TELLER = "zoo/teller"
_silent = False  # whether another rank tells the user what went wrong
_store: Any = None  # what the ranks of this launcher share
_Value = TypeVar("_Value")


def are_launched() -> bool:
    """Tell whether a launcher has started this process with others beside it."""
    return all(os.environ.get(name) for name in VARIABLES) and os.environ["WORLD_SIZE"] != "1"


def count() -> int:
    """Give the number of ranks."""
    import torch.distributed as dist

    return dist.get_world_size() if _is_joined() else 1


def rank() -> int:
    """Give this process's number, from 0; before the ranks have joined, the launcher's."""
    import torch.distributed as dist

    if _is_joined():
        return dist.get_rank()
    return int(os.environ["RANK"]) if are_launched() else 0


def is_first() -> bool:
    """Tell whether this is the rank that prints, writes, and tells plugins."""
    return rank() == 0


@contextmanager
def joined() -> Iterator[None]:
    """Be one of the ranks while the context lasts, where a launcher started several; gloo connects CPUs, nccl GPUs.

    A group that is there already, such as Ray Train's, is used as it is.
    Raises InvalidInput where the launcher's variables are not complete, RankLost when another rank has ended meanwhile.
    """
    global _store
    import torch
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    if _is_joined() or not _are_well_launched():
        yield
        return
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank())))
    try:
        _store, number, size = next(rendezvous("env://", timeout=TIMEOUT))
        backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
        dist.init_process_group(backend, store=_store, rank=number, world_size=size, timeout=TIMEOUT)
        yield
    except BaseException as error:
        lost = _is_about_others(error)
        _take_the_word(lost)
        if lost:
            raise RankLost(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), str(error)) from error
        raise
    finally:
        if _is_joined():
            dist.destroy_process_group()


def may_tell() -> bool:
    """Tell whether this rank's error is the one to show: the first that failed, and each that failed by itself alone."""
    return not _silent


def broadcast(value: _Value) -> _Value:
    """Give the first rank's value, which is pickled; a process alone gets its own back."""
    import torch.distributed as dist

    if count() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def exchange(value: _Value) -> list[_Value]:
    """Give every rank's value, in the order of the ranks. They are pickled."""
    import torch.distributed as dist

    values: list[Any] = [None] * count()
    dist.all_gather_object(values, value)
    return values


def wait() -> None:
    """Go on when all ranks have come here."""
    import torch.distributed as dist

    if count() > 1:
        dist.barrier()


def after_first(make: Callable[[], _Value], take: Callable[[], _Value]) -> _Value:
    """Let the first rank make something, and the others take it once it is there."""
    if is_first():
        made = make()
        wait()
        return made
    wait()
    return take()


def total(tensor: Tensor) -> Tensor:
    """Give the sum over all ranks, in place."""
    import torch.distributed as dist

    if count() > 1:
        dist.all_reduce(tensor)
    return tensor


def _is_joined() -> bool:
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


def _are_well_launched() -> bool:
    """Tell what are_launched tells, and look at all that is set. Raises InvalidInput where it is not complete, or no numbers."""
    given = {name: value for name in VARIABLES if (value := os.environ.get(name))}
    if given.get("WORLD_SIZE", "1") == "1":
        return False
    absent = [name for name in VARIABLES if name not in given]
    if absent:
        raise InvalidInput(
            f"WORLD_SIZE is {given['WORLD_SIZE']}, and there is no {', '.join(absent)}; a launcher sets all of "
            f"{', '.join(VARIABLES)}. Start with torchrun or --nproc-per-node, or unset WORLD_SIZE"
        )
    for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"):
        if not given[name].isdecimal():
            raise InvalidInput(f"{name} is '{given[name]}'; it would be a number. Start with torchrun, which sets it")
    if int(given["RANK"]) >= int(given["WORLD_SIZE"]):
        raise InvalidInput(
            f"RANK is {given['RANK']}, and WORLD_SIZE {given['WORLD_SIZE']}; ranks are counted from 0. "
            "Start with torchrun, which sets both"
        )
    return True


def _is_about_others(error: BaseException) -> bool:
    """Tell whether an error says that another rank cannot be reached: torch has several classes for it, gloo none."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _take_the_word(lost: bool) -> None:
    """Find out whether this rank is the first to fail. lost: whether it failed because another had."""
    global _silent
    if lost and "TORCHELASTIC_RUN_ID" in os.environ:
        time.sleep(
            GRACE_SECONDS
        )  # an agent, such as torchrun's, ends this process meanwhile, and says which was killed
    try:
        own = os.environ["RANK"]
        _silent = _store is not None and _store.compare_set(_TELLER, "", own).decode() != own
    except RuntimeError:  # who keeps the store has gone
        _silent = False
