"""Model cards: the YAML front matter of README.md, and the tags that searches go by."""

import json
import re
from typing import Any

import yaml  # type: ignore[import-untyped]

_FRONT_MATTER = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_FRONT_MATTER_CHARACTERS = 64 * 1024
_SINGLE = {"pipeline_tag": "", "library_name": "", "license": "license:"}
_SEVERAL = {"tags": "", "language": "", "datasets": "dataset:", "base_model": "base_model:"}


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML without aliases: a few lines of them unfold to gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)


def front_matter(text: str) -> dict[str, Any]:
    """The metadata at the top of a README.md as plain JSON values; empty where there is none or it can't be read."""
    found = _FRONT_MATTER.match(text[:_FRONT_MATTER_CHARACTERS])
    if found is None:
        return {}
    try:
        data = yaml.load(found.group(1), Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    if not isinstance(data, dict):
        return {}
    try:
        return dict(json.loads(json.dumps(data, default=str)))
    except (TypeError, ValueError, RecursionError):
        return {}


def body(text: str) -> str:
    """A README.md without its front matter."""
    return _FRONT_MATTER.sub("", text, count=1)


def card_tags(card: dict[str, Any]) -> list[str]:
    """The tags that a card gives its repository, as the Hub spells them: `license:mit`, `base_model:org/name`."""
    tags: dict[str, None] = {}
    for field, prefix in _SINGLE.items():
        if isinstance(card.get(field), str):
            tags[prefix + card[field]] = None
    for field, prefix in _SEVERAL.items():
        values = card.get(field)
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, str):
                tags[prefix + value] = None
    return list(tags)
