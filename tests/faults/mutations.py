"""Ways to spoil a JSON object: its values, its keys, its text, its bytes. Each is drawn by hypothesis."""

import copy
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

NUMBERS = st.sampled_from(
    (
        0, 1, -1, 2, 3, 7, 255, 1024, 2**16, 2**24, 2**24 + 1, 2**31 - 1, 2**31, 2**32 + 1, 2**53, 2**63 - 1, 2**63,
        2**64, 10**9, 10**30, -(2**63), 10**400, 0.0, -0.0, 0.5, 1.0, 1.0000000001, 1e-9, 5e-324, 1e38, 1e308, -1e308,
        -1.5, float("nan"), float("inf"), float("-inf"),
    )
)  # fmt: skip
TEXTS = st.sampled_from(
    (
        "", "gelu", "GELU", "relu", "silu", "none", "null", "1", "true", "../../etc/passwd", "/etc/passwd", "a" * 5000,
        "\x00", "\ud800", "é", "e\u0301", "\u202egnp.exe", "🦁", "{}", "__class__", "os.system", "%s%n", "linear",
        "yarn", "dynamic", "llama3", "default", "regression", "bert", "BertForMaskedLM", "F64", "I8", "BOOL", "F8_E4M3",
        "Q4", "\x1b[2J",
    )
)  # fmt: skip
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8)
RAW = st.sampled_from(
    (
        "NaN", "Infinity", "1e999", "-1e999", "9" * 5000, "00", "-", "+1", "0x10", "'a'", "tru", "[" * 3000,
        "[" * 100_000, '{"a":' * 3000 + "1" + "}" * 3000, "[" * 900 + "]" * 900, '"\\ud800"', '"\\u0000"', "1.", ".5",
        "", "{", "}",
    )
)  # fmt: skip
NEW_KEYS = TEXTS | st.text(max_size=12)
Step = tuple[str, int, Any]


def values(known: Sequence[tuple[str, Any]]) -> st.SearchStrategy[Any]:
    """Give values for a place: known ones as often as wild ones. known: keys and values of sound objects."""
    nested = st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
    )
    return st.sampled_from([value for _, value in known]) | SCALARS | nested


def steps(known: Sequence[tuple[str, Any]]) -> st.SearchStrategy[list[Step]]:
    """Give what is done to an object, one after the other: (what, where, with what)."""
    spot = st.integers(0, 999)
    value = values(known)
    return st.lists(
        st.tuples(st.just("nudge"), spot, st.sampled_from([-8, -2, -1, 1, 2, 3, 8, 2**20, 2**40]))
        | st.tuples(st.just("borrow"), spot, st.sampled_from(known))
        | st.tuples(st.just("set"), spot, value)
        | st.tuples(st.just("set"), spot, NUMBERS)
        | st.tuples(st.just("delete"), spot, st.none())
        | st.tuples(st.just("add"), spot, st.tuples(NEW_KEYS, value))
        | st.tuples(st.just("rename"), spot, NEW_KEYS)
        | st.tuples(st.just("swap"), spot, spot)
        | st.tuples(st.just("nest"), spot, st.integers(1, 60)),
        max_size=4,
    )


def texts() -> st.SearchStrategy[list[Step]]:
    """Give what is done to the text that an object becomes: raw values and keys that stand twice."""
    spot = st.integers(0, 999)
    raw = st.tuples(st.just("raw"), spot, RAW) | st.tuples(st.just("twice"), spot, RAW | st.just("1"))
    return st.lists(raw, min_size=1, max_size=2)


def damages() -> st.SearchStrategy[list[Step]]:
    """Give what is done to the bytes of the text: flipped bits, a cut, foreign bytes."""
    spot = st.integers(0, 2**20)
    damage = (
        st.tuples(st.just("flip"), spot, st.integers(0, 7))
        | st.tuples(st.just("cut"), spot, st.none())
        | st.tuples(st.just("insert"), spot, st.binary(min_size=1, max_size=6))
    )
    return st.lists(damage, min_size=1, max_size=3)


def mutations(known: Sequence[tuple[str, Any]]) -> st.SearchStrategy[tuple[list[Step], list[Step], list[Step]]]:
    """Give what is done to an object, its text and its bytes: seldom to more than one, for the last hides the first."""
    nothing: st.SearchStrategy[list[Step]] = st.just([])
    changed = st.tuples(steps(known), nothing, nothing)
    rewritten = st.tuples(steps(known), texts(), nothing)
    damaged = st.tuples(nothing, nothing, damages())
    return st.integers(0, 9).flatmap(lambda number: {0: rewritten, 1: damaged}.get(number, changed))


def spoil(base: dict[str, Any], changes: Sequence[Step]) -> dict[str, Any]:
    """Give a changed copy of an object. Where a step's place is not there any more, nothing happens."""
    spoilt = copy.deepcopy(base)
    for what, spot, drawn in changes:
        value = copy.deepcopy(drawn)  # what is changed further must stay as it was where it came from
        places = list(_places(spoilt))
        if not places:
            break
        holder, key = places[spot % len(places)]
        if what == "set":
            holder[key] = value
        elif what == "nudge" and type(holder[key]) is int:
            holder[key] += value
        elif what == "borrow" and value[0] in spoilt:
            spoilt[value[0]] = value[1]
        elif what == "delete":
            del holder[key]
        elif what == "add" and isinstance(holder, dict):
            holder[value[0]] = value[1]
        elif what == "rename" and isinstance(holder, dict):
            holder[value] = holder.pop(key)
        elif what == "swap":
            other, other_key = places[value % len(places)]
            holder[key], other[other_key] = copy.deepcopy(other[other_key]), copy.deepcopy(holder[key])
        elif what == "nest":
            for level in range(value):
                holder[key] = [holder[key]] if level % 2 else {"a": holder[key]}
    return spoilt


def _places(value: Any) -> Any:
    """Give every place in an object that holds a value: what holds it, and its key or index there."""
    inside = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    for key, item in inside:
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


def write(value: dict[str, Any], raw: Sequence[Step], damage: Sequence[Step]) -> bytes:
    """Give an object's text with raw values and doubled keys in it, then damaged."""
    pairs = [(json.dumps(key), json.dumps(item)) for key, item in value.items()]
    for what, spot, text in raw:
        if pairs:
            key, _ = pairs[spot % len(pairs)]
            pairs[spot % len(pairs)] = (key, text) if what == "raw" else pairs[spot % len(pairs)]
            pairs += [(key, text)] if what == "twice" else []
    content = bytearray(("{" + ", ".join(f"{key}: {item}" for key, item in pairs) + "}").encode("utf-8"))
    for what, spot, how in damage:
        at = spot % (len(content) + 1)
        if what == "flip" and at < len(content):
            content[at] ^= 1 << how
        elif what == "cut":
            del content[at:]
        elif what == "insert":
            content[at:at] = how
    return bytes(content)
