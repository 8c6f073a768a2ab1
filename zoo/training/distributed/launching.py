"""Starting a command's ranks on this machine, by the agent that torchrun runs."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence

from zoo.errors import RankKilled


def launch(count: int, arguments: Sequence[str]) -> int:
    """Run `zoo` with these arguments in `count` processes, and give the exit status of the first that failed, or 0.

    When one fails the others are ended. It has said itself what went wrong; of one that was killed, RankKilled is raised.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # The agent would tell of a failure once more, in a table; and DDP of parameters that it looks for and all finds in use.
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        run_id=uuid.uuid4().hex,
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "zoo.cli.main", *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            raise RankKilled(rank, count, signal.Signals(-failure.exitcode).name) from None
        return failure.exitcode
    except SignalException:
        return 130
    return 0
