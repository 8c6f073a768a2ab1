"""A view of a training run on stderr while it lasts: a panel on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.curves import Course, Curve
from zoo.cli.output import printable, size
from zoo.hookspecs import hookimpl
from zoo.training.distributed import ranks

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table

    from zoo.training.loop import Run
    from zoo.training.tracking import Tracker

REFRESHES_PER_SECOND = 4
MOST_EVALUATIONS = 5
LOSS = "eval_loss"
FORMS = {"loss": "{:.4f}", "learning_rate": "{:.2e}", "tokens_per_second": "{:,.0f}"}
UNITS = {"grams": "g", "kwh": "kWh", "watts": "W", "seconds": "s"}


@contextmanager
def training_view(description: str = "training") -> Iterator[Tracker]:
    """Give the tracker that shows a run while the context lasts."""
    if not sys.stderr.isatty() or not ranks.is_first():
        yield Lines(description)
        return
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_dumb_terminal:
        yield Lines(description)
        return
    panel = Panel(console, description)
    try:
        yield panel
    finally:
        panel.close()


class Lines:
    """Ten lines a run, and one for each evaluation: for pipes and logs."""

    def __init__(self, description: str) -> None:
        self._description = description

    @hookimpl
    def zoo_training_step(self, run: Run, step: int, metrics: Mapping[str, float]) -> None:
        if step == run.steps or step % max(1, run.steps // 10) == 0:
            loss = metrics["loss"]
            click.echo(f"{self._description}: step {step} of {run.steps}, loss {loss:.4f}", err=True)

    @hookimpl
    def zoo_training_evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        told = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        click.echo(f"{self._description}: after step {step}, {told}", err=True)


class Panel:
    """What a run is at, drawn again four times a second by a thread of rich's own: for terminals."""

    def __init__(
        self,
        console: Console,
        description: str,
        clock: Callable[[], float] = time.monotonic,
        memory: Callable[[Run], Mapping[str, int]] | None = None,
    ) -> None:
        """clock: gives seconds. memory: gives bytes by name; None for this process's and the GPU's."""
        self._console, self._description, self._clock = console, description, clock
        self._memory = memory or memory_in_use
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._run: Run | None = None
        self._began = 0.0
        self._first = self._step = 0  # the first step of this session may be any of the run
        self._courses: dict[str, Course] = {}
        self._latest: dict[str, float] = {}
        self._evaluations: list[tuple[int, Mapping[str, float]]] = []

    @hookimpl
    def zoo_training_started(self, run: Run) -> None:
        from rich.live import Live

        self._run, self._began = run, self._clock()
        self._live = Live(
            get_renderable=self.render,
            console=self._console,
            refresh_per_second=REFRESHES_PER_SECOND,
            redirect_stdout=False,  # results go there, wherever that is
            vertical_overflow="visible",
        )
        self._live.start()

    @hookimpl
    def zoo_training_step(self, step: int, metrics: Mapping[str, float]) -> None:
        with self._lock:
            self._first = self._first or step
            self._step, self._latest = step, dict(metrics)
            for name in ("loss", "tokens_per_second"):
                self._courses.setdefault(name, Course()).add(metrics[name])

    @hookimpl
    def zoo_training_evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        with self._lock:
            self._evaluations.append((step, metrics))

    def close(self) -> None:
        """Leave the panel as it is on the terminal, and let the run go."""
        if self._live is not None:
            self._live.stop()
        self._live = self._run = None

    def render(self) -> RenderableType:
        """Give the panel of this moment."""
        from rich.console import Group
        from rich.panel import Panel as Frame
        from rich.text import Text

        assert self._run is not None, "a run is shown once it has started"
        with self._lock:
            parts: list[RenderableType] = [self._progress(self._run)]
            if self._latest:
                parts += [Text(), self._figures(self._run)]
            if self._evaluations:
                parts += [Text(), self._table()]
        model = self._run.model
        title = f"[bold]{self._description}[/] {model.architecture.name} for {model.task}"
        return Frame(Group(*parts), title=title, title_align="left", border_style="dim", padding=(1, 2))

    def _progress(self, run: Run) -> Table:
        """The bar, and over it the loss of the steps that it stands for."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        passed = self._clock() - self._began
        taken, left = self._step - self._first + 1, run.steps - self._step
        grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
        grid.add_column(ratio=1)
        for _ in range(3):
            grid.add_column(no_wrap=True)
        if "loss" in self._courses:
            course = self._courses["loss"]
            loss = Text.assemble(("loss ", "dim"), (FORMS["loss"].format(course.recent), "bold"))
            grid.add_row(Curve(course.means, (self._first - 1) / run.steps, self._step / run.steps), loss)
        grid.add_row(
            ProgressBar(run.steps, self._step, complete_style="cyan", finished_style="cyan"),
            f"step {self._step:,} of {run.steps:,}",
            _time(passed),
            Text(f"{_time(passed / taken * left)} to go" if self._first and left else "", style="cyan"),
        )
        return grid

    def _figures(self, run: Run) -> Table:
        """All but the loss, two a row."""
        from rich.table import Table

        latest = {**self._latest, **{name: course.recent for name, course in self._courses.items()}}
        cells = [shown(name, value) for name, value in latest.items() if name != "loss"]
        cells += [(name, size(count)) for name, count in self._memory(run).items()]
        cells += [("", "")] * (len(cells) % 2)
        grid = Table.grid(padding=(0, 3, 0, 0))
        for style in ("dim", "", "dim", ""):
            grid.add_column(style=style, no_wrap=True)
        for left, right in zip(cells[::2], cells[1::2], strict=True):
            grid.add_row(*left, *right)
        return grid

    def _table(self) -> Table:
        """The last evaluations, and the best."""
        from rich.table import Table

        best = min(self._evaluations, key=lambda evaluation: evaluation[1][LOSS])
        shown = self._evaluations[-MOST_EVALUATIONS:]
        shown = shown if best in shown else [best, *shown[1:]]
        names = list(shown[-1][1])
        table = Table("after step", *map(_words, names), "", box=None, pad_edge=False, header_style="dim")
        for column in table.columns:
            column.justify = "right"
        for step, metrics in shown:
            values = (f"{metrics[name]:.4f}" if name in metrics else "" for name in names)
            is_best = len(self._evaluations) > 1 and step == best[0]
            table.add_row(f"{step:,}", *values, "best" if is_best else "", style="bold green" if is_best else "")
        return table


def memory_in_use(run: Any) -> dict[str, int]:
    """Give what this process holds of the machine's memory and of the GPU's, in bytes, as far as the system tells."""
    import resource
    from pathlib import Path

    found = {}
    statm = Path("/proc/self/statm")
    if statm.exists():
        found["memory"] = int(statm.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found["most memory"] = peak * (1 if sys.platform == "darwin" else 1024)
    device = run.model.device
    if device.type == "cuda":
        import torch

        found["GPU memory"] = torch.cuda.memory_allocated(device)
        found["most GPU memory"] = torch.cuda.max_memory_allocated(device)
    return found


def shown(name: str, value: float) -> tuple[str, str]:
    """Give a figure's name and value as people write them; the name may end in a unit."""
    start, _, last = name.rpartition("_")
    if last in UNITS:
        return _words(start), f"{value:.3g} {UNITS[last]}"
    return _words(name).replace(" per second", "/s"), FORMS.get(name, "{:.4g}").format(value)


def _words(name: str) -> str:
    return printable(name.replace("_", " "))


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
