"""Training runs and what they leave."""

from collections.abc import Mapping
from pathlib import Path

from zoo.errors.base import ZooError, short


class TrainingDiverged(ZooError):
    """The loss, or the gradient, is no longer a number."""

    def __init__(
        self, step: int, value: float, learning_rate: float, what: str = "loss", kept_step: int | None = None
    ) -> None:
        self.step, self.value, self.learning_rate, self.what = step, value, learning_rate, what
        self.kept_step = kept_step
        kept = (
            ""
            if kept_step is None
            else f". The state after step {kept_step} is kept: with --resume (resume=True) and such a setting the run goes on "
            "from there"
        )
        super().__init__(
            f"The {what} became {value} at step {step}. Training stopped. "
            f"Try a smaller learning_rate than {learning_rate:g}, or more warmup_steps{kept}"
        )


class AdapterMismatch(ZooError):
    """An adapter was learnt beside other weights than those it is to be put on."""

    def __init__(self, adapter: str, base: str | None, given: str, by: str | None = None) -> None:
        self.adapter, self.base, self.given, self.by = adapter, base, given, by
        says = f", says {by}" if by else ""
        super().__init__(
            f"The adapter '{adapter}' was learnt beside other weights than those of '{given}'{says}: their digests differ. "
            f"Load the base that it names: {base or 'none'}"
        )


class AdapterAlone(ZooError):
    """An adapter stands where a whole checkpoint is wanted."""

    def __init__(self, adapter: str, base: str | None) -> None:
        self.adapter, self.base = adapter, base
        named, beside = f"Its base is {base}" if base else "It names no base", base or "BASE"
        super().__init__(
            f"'{adapter}' is an adapter: what was learnt beside a checkpoint, and no checkpoint by itself. {named}. Load both: "
            f'zoo.load("{beside}", adapter="{adapter}") (on the command line: zoo run {beside} --adapter {adapter})'
        )


class CheckpointNotSaved(ZooError):
    """The state of a training run could not be written."""

    def __init__(self, path: Path, step: int, reason: str, kept_step: int | None) -> None:
        self.path, self.step, self.reason, self.kept_step = path, step, reason, kept_step
        kept = "There is none before it" if kept_step is None else f"That of step {kept_step} is kept"
        super().__init__(
            f"The checkpoint '{path}' could not be written after step {step}: {reason}. Training stopped. {kept}. "
            "Free some disk, then go on with --resume (resume=True)"
        )


class UnfinishedRun(ZooError):
    """A folder for a result holds a run that was not finished, and nobody said what shall become of it."""

    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step = path, step
        super().__init__(
            f"'{path}' holds a run that stopped after step {step}. Go on with it by --resume (resume=True); "
            f"to begin anew, choose another folder or remove {path / 'checkpoints'}"
        )


class ResumeRefused(ZooError):
    """A checkpoint is of a run over other data, from other weights, or in another order."""

    def __init__(self, path: Path, step: int, differing: Mapping[str, tuple[object, object]]) -> None:
        self.path, self.step, self.differing = path, step, dict(differing)
        lines = "".join(
            f"\n  {key}: was {short(was, 60)}, is {short(now, 60)}" for key, (was, now) in differing.items()
        )
        super().__init__(
            f"The run saved in '{path}' cannot be gone on with: it differs in what decides its order and its weights.{lines}\n"
            "Give it what it had, or begin anew in another folder"
        )


class RankLost(ZooError):
    """Another of the processes that train together cannot be reached any more."""

    def __init__(self, rank: int, count: int, reason: str) -> None:
        self.rank, self.count, self.reason = rank, count, reason
        super().__init__(
            f"Rank {rank} of {count} cannot reach another one ({short(reason.splitlines()[0], 200)}). That one has ended, "
            "or never came: its own message says why. A run with checkpoints goes on with --resume (resume=True)"
        )


class RankKilled(ZooError):
    """One of the processes that train together was ended by a signal."""

    def __init__(self, rank: int, count: int, signal: str) -> None:
        self.rank, self.count, self.signal = rank, count, signal
        memory = " That is how a system out of memory ends a process: try fewer ranks, or a smaller batch_size." * (
            signal == "SIGKILL"
        )
        super().__init__(
            f"Rank {rank} of {count} was ended by {signal}, and the others with it.{memory} "
            "A run with checkpoints goes on with --resume (resume=True)"
        )
