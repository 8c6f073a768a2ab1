"""JSON objects, read so that every reader understands the same: each name once, and text that is text."""

import json
from typing import Any


def parse_object(text: bytes, *, constants: bool = True) -> dict[str, Any]:
    """Give the JSON object in a UTF-8 text. constants: whether NaN and Infinity, which JSON lacks, count as numbers.

    Raises ValueError, whose text goes on after "it" or "its header".
    """
    value = parse_json_value(text, constants=constants)
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object")
    return value


def parse_json_value(text: bytes, *, constants: bool = True) -> Any:
    """Give the JSON value in a UTF-8 text, whatever it is. Arguments and errors: see parse_object."""
    try:
        decoded = text.decode("utf-8")
        refuse = None if constants else _refuse_constant
        value = json.loads(decoded, object_pairs_hook=_unique_keys, parse_int=_integer, parse_constant=refuse)
        if "\\ud" in decoded.lower() and not _is_text(json.dumps(value, ensure_ascii=False)):
            raise ValueError("half a surrogate pair stands in it, which is no text")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not valid JSON ({error})") from None
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("a name stands in it twice")
    return unique


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _integer(digits: str) -> int | float:
    # JSON's -0 is a float to every other reader; as one it counts as no size.
    return -0.0 if digits == "-0" else int(digits)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")
