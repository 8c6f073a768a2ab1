"""`report.html`: a page about a training run that stands by itself, without network and without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.footprint import Footprint
from zoo.model import Model
from zoo.training.charts import Series, draw, smooth
from zoo.training.environment import describe_environment
from zoo.training.findings import Findings

if TYPE_CHECKING:
    from jinja2 import Template

REPORT_FILE = "report.html"
MOST_LABELS = 20  # a larger matrix is no picture any more; its largest entries are listed instead
MOST_CONFUSIONS = 20
LONGEST_TEXT = 500


@dataclass(frozen=True)
class Report:
    """What the page says.

    facts: of model and data. losses, learning_rates: of each step. evaluations: (step, metrics) on the way. metrics: in
    the end. settings, environment: by name. footprint: None where nothing was counted.
    """

    title: str
    facts: Mapping[str, str]
    losses: Sequence[float]
    learning_rates: Sequence[float]
    evaluations: Sequence[tuple[int, Mapping[str, float]]] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    footprint: Footprint | None = None


def describe_run(
    model: Model,
    losses: Sequence[float],
    learning_rates: Sequence[float],
    evaluations: Sequence[tuple[int, Mapping[str, float]]] = (),
    findings: Findings | None = None,
) -> Report:
    """Give the report of the run that a model's record is of. The arguments are those of Report."""
    record = model.record
    assert record is not None, "only a trained model has a record"
    base = f"{record.base or 'a folder'}" + (f" at {record.base_commit}" if record.base_commit else "")
    if record.taught:
        base = f"its teacher, {base}"
    return Report(
        title=f"{model.architecture.name}, trained for {model.task}",
        facts={
            "architecture": model.architecture.name,
            "task": model.task,
            "parameters": f"{sum(parameter.numel() for parameter in model.parameters()):,}",
            **({"learnt": record.learnt} if record.learnt else {}),
            "started from": base if model.checkpoint or record.taught else "random weights",
            "examples": f"{record.examples:,} to learn from, {record.evaluated:,} held out",
            "optimiser steps": f"{len(losses):,}",
        },
        losses=losses,
        learning_rates=learning_rates,
        evaluations=evaluations,
        metrics=record.metrics,
        findings=findings or Findings(),
        settings={name: value for name, value in record.settings.items() if value is not None},
        environment=describe_environment(model.device),
        footprint=record.footprint,
    )


def learning(learnt: int, every: int) -> str:
    """Say how many of all parameters learn."""
    return f"{learnt:,} of {every:,} parameters ({100 * learnt / max(every, 1):.2f} %)"


def save_report(report: Report, folder: Path) -> None:
    """Write report.html into a folder."""
    (folder / REPORT_FILE).write_text(render(report), encoding="utf-8")


def render(report: Report) -> str:
    """Give the page as HTML."""
    from markupsafe import Markup

    findings = report.findings
    return _template().render(
        report=report,
        loss_chart=Markup(_loss_chart(report)),  # draw() escapes the names, and nothing else is text
        rate_chart=Markup(_rate_chart(report)),
        metric_charts=[(name, Markup(chart)) for name, chart in _metric_charts(report)],
        matrix=_matrix(findings) if len(findings.labels) <= MOST_LABELS else [],
        confusions=findings.confusions()[:MOST_CONFUSIONS] if len(findings.labels) > MOST_LABELS else [],
        longest=LONGEST_TEXT,
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    source = Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["shown"] = _shown
    return environment.from_string(source)


def _shown(value: Any) -> str:
    """Give a value for people."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_shown(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _loss_chart(report: Report) -> str:
    steps = range(1, len(report.losses) + 1)
    each = Series("each step", list(zip(steps, report.losses, strict=True)), "faint")
    mean = Series("mean of the last steps", list(zip(steps, smooth(report.losses), strict=True)))
    held_out = Series("held-out examples", _course(report, "eval_loss"), "dots")
    return draw([each, mean, held_out] if len(report.losses) > 1 else [mean, held_out], "step", "loss")


def _rate_chart(report: Report) -> str:
    return draw([Series("learning rate", list(enumerate(report.learning_rates, start=1)))], "step", "learning rate")


def _metric_charts(report: Report) -> list[tuple[str, str]]:
    """Give a chart for each metric that was measured more than once."""
    names = dict.fromkeys(name for _, metrics in report.evaluations for name in metrics if name != "eval_loss")
    courses = {name: _course(report, name) for name in names}
    return [
        (name, draw([Series(name, points, "dots")], "step", name))
        for name, points in courses.items()
        if len(points) > 1
    ]


def _course(report: Report, metric: str) -> list[tuple[float, float]]:
    return [(step, metrics[metric]) for step, metrics in report.evaluations if metric in metrics]


def _matrix(findings: Findings) -> list[tuple[str, list[tuple[int, float, bool]]]]:
    """Give each label's row: counts, each with its share of the row, and whether it is right."""
    return [
        (label, [(count, count / max(sum(row), 1), at == column) for column, count in enumerate(row)])
        for at, (label, row) in enumerate(zip(findings.labels, findings.confusion, strict=True))
    ]
