"""Does the conformance kit bite? It runs on architectures as they are, then on mutants, and prints how many it noticed.

`make test-all` runs it; `kill_rate.py llama t5` for those bases alone. Exit status 1 if an unchanged architecture fails,
or fewer than 95 % of the mutants do.
"""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

MUTANTS = Path(__file__).parent / "mutants"
GROUPS = {"encoder-only": "zoo.encoder_only", "decoder-only": "zoo.decoder_only"}
GROUPS["encoder-decoder"] = "zoo.encoder_decoder"
SOUGHT = 0.95
AT_ONCE = min(2, os.cpu_count() or 1)
Job = tuple[str, str]  # a base's name and a mutant's; "" for the base as it is


def main(wanted: list[str]) -> int:
    """Run everything and give the exit status."""
    with tempfile.TemporaryDirectory() as name:
        sys.path[:0] = [name, str(MUTANTS)]
        from zoo_mutants import BASES, MUTATIONS

        install(Path(name))
        warm_up()
        bases = wanted or list(BASES)
        unsound = [base for (base, _), survives in run((base, "") for base in bases) if not survives]
        if unsound:
            print(f"The kit fails on the unchanged {', '.join(unsound)}")
            return 1
        fared = list(run((base, mutant) for base in bases for mutant in MUTATIONS[base]))
    survivors = sum(survives for _, survives in fared)
    rate = 1 - survivors / len(fared)
    print(f"{len(fared) - survivors} of {len(fared)} mutants noticed: {rate:.1%}")
    return 0 if rate >= SOUGHT else 1


def install(folder: Path) -> None:
    """Make the mutants a distribution of their own that is preferred for the names of their bases."""
    from zoo_mutants import BASES, mutated

    kinds = {base.architecture: mutated(name, "").kind for name, base in BASES.items()}
    entries = [f"[{GROUPS[kind]}]\n{name} = zoo_mutants\n" for name, kind in kinds.items()]
    metadata = folder / "zoo_mutants-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-mutants\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("\n".join(entries))
    (folder / "config.toml").write_text("[prefer]\n" + "".join(f'"{name}" = "zoo-mutants"\n' for name in kinds))
    os.environ["ZOO_CONFIG"] = str(folder / "config.toml")


def warm_up() -> None:
    """Import once, before the forks, what each would import."""
    import torch
    import torch._dynamo
    import transformers
    from zoo_mutants import BASES, mutated

    import zoo.testing.checks  # noqa: F401

    torch.set_num_threads(1)
    for base in BASES:
        for head in mutated(base, "").heads:
            getattr(transformers, head.classes[0], None)


def run(jobs: Iterable[Job]) -> Iterator[tuple[Job, bool]]:
    """Run the kit on each, in a process of its own, and give whether everything passed, as they finish."""
    running: dict[int, Job] = {}
    waiting = iter(jobs)
    while True:
        for job in waiting:
            running[start(job)] = job
            if len(running) >= AT_ONCE:
                break
        if not running:
            return
        child, status = os.wait()
        yield running.pop(child), os.waitstatus_to_exitcode(status) == 0


def start(job: Job) -> int:
    """Begin to run the kit on a mutant, up to the first failure; it prints how that went. Gives the process id."""
    child = os.fork()
    if child == 0:
        from zoo_mutants import BASES

        os.environ["BASE"], os.environ["MUTANT"] = job
        arguments = ["--override-ini", "addopts=", "-x", "-q", "-p", "no:cacheprovider"]
        arguments += ["--zoo-arch", BASES[job[0]].architecture]
        watcher = Watcher()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            status = int(pytest.main(arguments, plugins=[watcher]))
        print(f"{'noticed' if status else 'passed '}  {': '.join(filter(None, job))}{watcher.seen}", flush=True)
        os._exit(status)
    return child


class Watcher:
    """Puts the checks that notice most at the front and those that take longest at the end, and says which one failed."""

    seen = ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        front, back = ("transformers", "cached", "padding"), ("compiles",)
        items.sort(key=lambda i: (any(b in i.name for b in back), not any(f in i.name for f in front)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.seen = f"\n             {report.nodeid.partition('::')[2]}: {str(crash and crash.message)[:120]!r}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
