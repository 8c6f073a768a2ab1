"""Does the conformance kit bite? It runs on BERT as it is, then on each mutant, and prints how many it noticed.

`make test-all` runs it. Exit status 1 if the unchanged architecture fails, or fewer than 95 % of the mutants do.
"""

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path

MUTANTS = Path(__file__).parent / "mutants"
SOUGHT = 0.95


def main() -> int:
    """Run everything and give the exit status."""
    with tempfile.TemporaryDirectory() as name:
        install(Path(name))
        import pytest
        import torch
        import transformers  # noqa: F401 - imported once, before the forks
        from zoo_mutants import MUTATIONS

        import zoo.testing.checks  # noqa: F401

        torch.set_num_threads(1)
        if survives("", pytest) is False:
            print("The kit fails on the unchanged architecture")
            return 1
        survivors = [mutant for mutant in MUTATIONS if report(mutant, survives(mutant, pytest))]
    rate = 1 - len(survivors) / len(MUTATIONS)
    print(f"{len(MUTATIONS) - len(survivors)} of {len(MUTATIONS)} mutants noticed: {rate:.0%}")
    return 0 if rate >= SOUGHT else 1


def install(folder: Path) -> None:
    """Make the mutants a distribution of their own that is preferred for the name `bert`."""
    metadata = folder / "zoo_mutants-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-mutants\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[zoo.encoder_only]\nbert = zoo_mutants\n")
    (folder / "config.toml").write_text('[prefer]\nbert = "zoo-mutants"\n')
    sys.path[:0] = [str(folder), str(MUTANTS)]
    os.environ["ZOO_CONFIG"] = str(folder / "config.toml")


def survives(mutant: str, pytest: object) -> bool:
    """Run the kit on a mutant in a process of its own, up to the first failure; tell whether everything passed."""
    child = os.fork()
    if child == 0:
        os.environ["MUTANT"] = mutant
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            arguments = ["--override-ini", "addopts=", "-x", "-q", "-p", "no:cacheprovider", "--zoo-arch", "bert"]
            status = pytest.main(arguments)  # type: ignore[attr-defined]
        os._exit(int(status))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def report(mutant: str, survived: bool) -> bool:
    """Print how a mutant fared, and tell whether it survived."""
    print(f"{'SURVIVED' if survived else 'noticed '}  {mutant}", flush=True)
    return survived


if __name__ == "__main__":
    sys.exit(main())
