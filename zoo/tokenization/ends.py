"""What a tokenizer puts around texts: ends, separators, codes of languages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import processors

from zoo.errors import CorruptFile
from zoo.tokenization.families import Family
from zoo.tokenization.files import content, flag


def ends(backend: Any, folder: Path, family: Family, settings: Mapping[str, Any], language: str | None = None) -> Any:
    """Give what puts special tokens around texts and pairs of texts.

    language: the code that stands for `language` in the family's templates. Raises CorruptFile.
    """
    single, pair = family.single, family.pair
    if family.bos is not None and family.eos is not None:
        bos = "bos_token:{} " if flag(settings, "add_bos_token", family.bos, folder) else ""
        eos = " eos_token:{}" if flag(settings, "add_eos_token", family.eos, folder) else ""
        single = f"{bos}$A:{{}}{eos}".format(*[0] * 3)
        pair = f"{single} {f'{bos}$B:{{}}{eos}'.format(*[1] * 3)}"
    tokens = {role: content(settings.get(role)) for role in family.roles} | {"language": language}
    named = {piece.split(":")[0] for piece in f"{single} {pair}".split() if not piece.startswith("$")}
    special = []
    for role in sorted(named):
        token = tokens.get(role)
        index = None if token is None else backend.token_to_id(token)
        if index is None:
            raise CorruptFile(folder / family.files[-1], f"it has no '{token or role}', which is put around each text")
        special.append({"id": role, "ids": [index], "tokens": [token]})
    template = processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)
    if not family.trim:
        return template
    space = flag(settings, "add_prefix_space", False, folder)
    return processors.Sequence([processors.ByteLevel(add_prefix_space=space, trim_offsets=True), template])
