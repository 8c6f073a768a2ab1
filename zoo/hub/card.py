"""Model cards: README.md with metadata, written from what is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CARD_FILE = "README.md"


@dataclass(frozen=True)
class CardFacts:
    """What a card says. metrics: by name. settings: of the training. emissions: kg of CO2 equivalent."""

    repo_id: str
    architecture: str
    task: str
    parameters: int
    labels: tuple[str, ...] = ()
    license: str | None = None
    base: str | None = None
    base_commit: str | None = None
    examples: int | None = None
    evaluated: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    emissions: float | None = None


def write_card(facts: CardFacts) -> str:
    """Give the text of README.md: metadata that the Hub understands, and the same facts for people."""
    from huggingface_hub import EvalResult, ModelCardData

    name = facts.repo_id.split("/")[-1]
    results = [
        EvalResult(
            task_type=facts.task,
            dataset_type="held-out",
            dataset_name="held-out examples of the training run",
            metric_type=metric,
            metric_value=round(value, 6),
        )
        for metric, value in facts.metrics.items()
        if facts.evaluated and metric != "train_loss"
    ]
    data = ModelCardData(
        license=facts.license,
        library_name="zoo",
        pipeline_tag=facts.task,
        tags=["zoo", facts.architecture],
        base_model=facts.base,
        metrics=[result.metric_type for result in results] or None,
        model_name=name if results else None,
        eval_results=results or None,
        co2_eq_emissions=None if facts.emissions is None else _emissions(facts.emissions),
    )
    return f"---\n{data.to_yaml().strip()}\n---\n\n# {name}\n\n{_prose(facts)}"


def _emissions(kilograms: float) -> dict[str, Any]:
    return {"emissions": round(kilograms * 1000, 6), "source": "codecarbon", "training_type": "fine-tuning"}


def _prose(facts: CardFacts) -> str:
    article = "an" if facts.architecture[0] in "aeiou" else "a"
    lines = [f"This is {article} `{facts.architecture}` model with {facts.parameters:,} parameters for `{facts.task}`."]
    if facts.labels:
        lines.append(f"Its labels are: {', '.join(f'`{label}`' for label in facts.labels)}.")
    if facts.base:
        at = f" at commit `{facts.base_commit}`" if facts.base_commit else ""
        lines.append(f"It was fine-tuned from [{facts.base}](https://huggingface.co/{facts.base}){at}.")
    parts = [" ".join(lines), f'## Use\n\n```python\nimport zoo\n\nmodel = zoo.load("{facts.repo_id}")\n```']
    if facts.examples is not None:
        rows = "\n".join(f"| {key} | {value} |" for key, value in facts.settings.items() if value is not None)
        parts.append(f"## Training\n\n{facts.examples:,} examples.\n\n| setting | value |\n|---|---|\n{rows}")
    if facts.metrics:
        measured = f"On {facts.evaluated:,} held-out examples." if facts.evaluated else "No examples were held out."
        rows = "\n".join(f"| {metric} | {value:.4f} |" for metric, value in facts.metrics.items())
        parts.append(f"## Results\n\n{measured}\n\n| metric | value |\n|---|---|\n{rows}")
    if facts.emissions is not None:
        parts.append(f"## Footprint\n\nTraining emitted {facts.emissions * 1000:.3g} g of CO2 equivalent.")
    return "\n\n".join(parts) + "\n"


def read_license(folder: Path) -> str | None:
    """Give the license that the card in a checkpoint's folder names, or None."""
    from huggingface_hub import ModelCard

    path = folder / CARD_FILE
    if not path.is_file():
        return None
    try:
        data = ModelCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=True).data
    except Exception:  # somebody else's card: whatever is wrong with it, it names no license
        return None
    license_name = getattr(data, "license", None)
    return license_name if isinstance(license_name, str) else None
