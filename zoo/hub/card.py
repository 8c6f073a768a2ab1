"""Model cards: README.md with metadata, written from what is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.footprint import Footprint

CARD_FILE = "README.md"
CARD_LIMIT_BYTES = 5_000_000


@dataclass(frozen=True)
class AdapterFacts:
    """What a card says of an adapter. kind: such as "LoRA of rank 8". parameters: what it has of its own."""

    kind: str
    parameters: int


@dataclass(frozen=True)
class CardFacts:
    """What a card says.

    kept: metadata of an earlier card of these weights, see `read_kept`. base: what the model was fine-tuned from, or what
    an adapter goes beside, whose architecture and parameters are the facts' then, or the teacher. taught: how that taught it.
    metrics: by name. settings: of the training. emissions: kg of CO2 equivalent; footprint: the same with how it is known.
    """

    repo_id: str
    architecture: str
    task: str
    parameters: int
    labels: tuple[str, ...] = ()
    kept: Mapping[str, Any] = field(default_factory=dict)
    base: str | None = None
    base_commit: str | None = None
    examples: int | None = None
    evaluated: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    emissions: float | None = None
    footprint: Footprint | None = None
    adapter: AdapterFacts | None = None
    taught: str | None = None


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
        if facts.evaluated and metric not in ("train_loss", "eval_loss")
    ]
    kept = {**facts.kept, **({"base_model": facts.base} if facts.base else {})}
    if facts.adapter:
        kept |= {"base_model_relation": "adapter"}
    elif facts.taught and facts.base:  # of the Hub's four relations the one that is nearest
        kept |= {"base_model_relation": "finetune"}
    data = ModelCardData(
        library_name="peft" if facts.adapter else "zoo",
        pipeline_tag=facts.task,
        tags=_tags(facts),
        metrics=[result.metric_type for result in results] or None,
        model_name=name if results else None,
        eval_results=results or None,
        co2_eq_emissions=_emissions(facts),
        **kept,
    )
    return f"---\n{data.to_yaml().strip()}\n---\n\n# {name}\n\n{_prose(facts)}"


def _tags(facts: CardFacts) -> list[str]:
    """Give tags: of an adapter those by which the Hub and PEFT know one."""
    tags = ["zoo", facts.architecture]
    if facts.taught:
        return [*tags, "distillation"]
    return tags if facts.adapter is None else [*tags, "lora", "transformers", f"base_model:adapter:{facts.base}"]


def _emissions(facts: CardFacts) -> dict[str, Any] | None:
    """Give the Hub's record of emissions, in grams."""
    found = facts.footprint
    if found is None:
        return None if facts.emissions is None else {"emissions": round(facts.emissions * 1000, 6)}
    return {
        "emissions": round(found.grams, 6),
        "source": found.source + (" (an estimate: not all of it was read from counters)" if found.estimated else ""),
        "training_type": found.training_type,
        "geographical_location": found.location,
        "hardware_used": found.hardware,
    }


def _prose(facts: CardFacts) -> str:
    article = "an" if facts.architecture[0] in "aeiou" else "a"
    model = f"{article} `{facts.architecture}` model with {facts.parameters:,} parameters"
    at = f" at commit `{facts.base_commit}`" if facts.base_commit else ""
    base = f"[{facts.base}](https://huggingface.co/{facts.base}){at}"
    use = f'model = zoo.load("{facts.repo_id}")'
    lines = [f"This is {model} for `{facts.task}`."]
    if facts.adapter:
        learnt = f"{facts.adapter.kind}, {facts.adapter.parameters:,} parameters for `{facts.task}`"
        lines = [
            f"This is an adapter: {learnt}. It was learnt beside {base}, {model}, and belongs to these weights alone."
        ]
        named = f"{facts.base}@{facts.base_commit}" if facts.base_commit else facts.base
        use = f'model = zoo.load("{named}", adapter="{facts.repo_id}")'
    if facts.labels:
        lines.append(f"Its labels are: {', '.join(f'`{label}`' for label in facts.labels)}.")
    if facts.taught:
        lines.append(f"It was distilled from {base if facts.base else 'a model that is in no repository'}.")
    elif facts.base and not facts.adapter:
        lines.append(f"It was fine-tuned from {base}.")
    parts = [" ".join(lines), f"## Use\n\n```python\nimport zoo\n\n{use}\n```"]
    if facts.adapter:
        parts.append(f'PEFT reads it too: `peft.PeftModel.from_pretrained(base, "{facts.repo_id}")`.')
    if facts.examples is not None:
        rows = "\n".join(f"| {key} | {value} |" for key, value in facts.settings.items() if value is not None)
        how = f" {facts.taught}" if facts.taught else ""
        parts.append(f"## Training\n\n{facts.examples:,} examples.{how}\n\n| setting | value |\n|---|---|\n{rows}")
    if facts.metrics:
        measured = f"On {facts.evaluated:,} held-out examples." if facts.evaluated else "No examples were held out."
        rows = "\n".join(f"| {metric} | {value:.4f} |" for metric, value in facts.metrics.items())
        parts.append(f"## Results\n\n{measured}\n\n| metric | value |\n|---|---|\n{rows}")
    if facts.footprint is not None:
        parts.append(f"## Footprint\n\nTraining on {facts.footprint.hardware} emitted {facts.footprint}")
    elif facts.emissions is not None:
        parts.append(f"## Footprint\n\nTraining emitted {facts.emissions * 1000:.3g} g of CO2 equivalent.")
    return "\n\n".join(parts) + "\n"


KEPT_KEYS = ("license", "license_name", "license_link", "base_model", "language")


def read_kept(folder: Path) -> dict[str, Any]:
    """Give what the card in a checkpoint's folder says of its license and origin: that holds for what is made of it."""
    path = folder / CARD_FILE
    if not path.is_file() or check_card(path) is not None:
        return {}  # somebody else's card: whatever is wrong with it, it says nothing
    data = _metadata(path)
    return {key: data[key] for key in KEPT_KEYS if isinstance(data.get(key), str | list)}


def check_card(path: Path) -> str | None:
    """Say what is wrong with a card's metadata, by the library's own card classes, or None."""
    from yaml import YAMLError  # type: ignore[import-untyped]

    if path.stat().st_size > CARD_LIMIT_BYTES:
        return f"it has more than {CARD_LIMIT_BYTES} bytes"
    try:
        _metadata(path)
    except YAMLError as error:
        return " ".join(str(error).split())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:  # what these classes raise
        return str(error)
    return None


def _metadata(path: Path) -> dict[str, Any]:
    """Give a card's metadata, empty where it has none."""
    from huggingface_hub import ModelCard

    text = path.read_text(encoding="utf-8")
    if not text.lstrip("\ufeff \r\n").startswith("---"):
        return {}  # the library would warn of it
    data: dict[str, Any] = ModelCard(text).data.to_dict()  # type: ignore[no-untyped-call]
    return data
