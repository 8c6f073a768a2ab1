"""Layouts: an architecture's tensor names beside the Hub's, as data that is read in both directions.

    Layout(
        ("embeddings.word_embeddings.weight", "embeddings.tokens.weight"),
        ("h.{}.attn.c_attn.weight", ("layers.{}.attention.query.weight", ...), "transpose split"),
        ignored=["embeddings.position_ids"],
        prefix="bert.",
    )

A row has the Hub's name, ours, and a transform where the tensor itself changes. `{}` stands for a layer's number. A
tuple of names on one side needs a transform that splits or fuses.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from zoo.errors import InvalidLayout

if TYPE_CHECKING:
    from torch import Size, Tensor

Names = tuple[str, ...]


class Transform(Protocol):
    """A change of tensors between the Hub's form and ours. `write` undoes `read`."""

    def read(self, tensors: "list[Tensor]", shapes: "list[Size]") -> "list[Tensor]":
        """Give our tensors, of the given shapes, from the Hub's."""
        ...

    def write(self, tensors: "list[Tensor]") -> "list[Tensor]":
        """Give the Hub's tensors from ours; works on the meta device too, to learn the Hub's shapes."""
        ...


class Transpose:
    """Swap the two axes of a matrix: (in, out) on the Hub, (out, in) here."""

    def read(self, tensors: "list[Tensor]", shapes: "list[Size]") -> "list[Tensor]":
        return [tensor.t() for tensor in tensors]

    def write(self, tensors: "list[Tensor]") -> "list[Tensor]":
        return [tensor.t() for tensor in tensors]


class Split:
    """One tensor on the Hub is several here, one after the other along the first axis."""

    def read(self, tensors: "list[Tensor]", shapes: "list[Size]") -> "list[Tensor]":
        import torch

        return list(torch.split(tensors[0], [shape[0] for shape in shapes]))

    def write(self, tensors: "list[Tensor]") -> "list[Tensor]":
        import torch

        return [torch.cat(tensors)]


class Fuse:
    """Several tensors of one size on the Hub are one here, along the first axis."""

    def __init__(self, parts: int) -> None:
        self.parts = parts

    def read(self, tensors: "list[Tensor]", shapes: "list[Size]") -> "list[Tensor]":
        import torch

        return [torch.cat(tensors)]

    def write(self, tensors: "list[Tensor]") -> "list[Tensor]":
        return list(tensors[0].tensor_split(self.parts))  # always so many, where chunk may give fewer


class Each:
    """As many tensors on the Hub as here, in the same order: they stand in one row because they come together."""

    def read(self, tensors: "list[Tensor]", shapes: "list[Size]") -> "list[Tensor]":
        return tensors

    def write(self, tensors: "list[Tensor]") -> "list[Tensor]":
        return tensors


@dataclass(frozen=True)
class Row:
    """One line of the table: names on the Hub, names here, and what happens in between, in reading order."""

    hub: Names
    zoo: Names
    transforms: tuple[Transform, ...] = ()

    def read(self, tensors: "list[Tensor]", shapes: "list[Size]") -> "list[Tensor]":
        """Give our tensors, of the given shapes, from the Hub's."""
        for transform in self.transforms:
            tensors = transform.read(tensors, shapes)
        return tensors

    def write(self, tensors: "list[Tensor]") -> "list[Tensor]":
        """Give the Hub's tensors from ours."""
        for transform in reversed(self.transforms):
            tensors = transform.write(tensors)
        return tensors


class Layout:
    """The whole table of one backbone or head."""

    def __init__(
        self,
        *rows: tuple[str | Names, str | Names] | tuple[str | Names, str | Names, str | Transform],
        ignored: Sequence[str] = (),
        spare: Sequence[str] = (),
        old_spellings: Sequence[tuple[str, str]] = (),
        prefix: str = "",
        other_prefixes: Sequence[str] = (),
    ) -> None:
        """rows: (hub, zoo) or (hub, zoo, transform); a transform is a word of "transpose", "split", "fuse", "each",
        several words in reading order, or an object of the Transform protocol. A parameter may stand in two rows of
        different length, for variants of a module: the longer is meant where all its parameters exist.
        ignored: the Hub's names of tensors that are not needed, for instance because they can be computed.
        spare: the Hub's names in rows whose tensors may be there although the module has no parameter for them.
        old_spellings: (old, new) endings of the Hub's names; read, never written.
        prefix: what the Hub's names start with when a head stands on the backbone; understood with and without.
        other_prefixes: what they may start with instead; read, written under heads that say so.
        Raises InvalidLayout.
        """
        self.rows = tuple(_row(*row) for row in rows)
        self.ignored = tuple(ignored)
        self.spare = tuple(spare)
        self.old_spellings = tuple(old_spellings)
        self.prefix = prefix
        self.other_prefixes = tuple(other_prefixes)
        self._check()
        self._by_hub = _Index((name.removeprefix(prefix), row) for row in self.rows for name in row.hub)
        longest_first = sorted(self.rows, key=lambda row: -len(row.zoo))
        self._by_zoo = _Index((name, row) for row in longest_first for name in row.zoo)
        self._ignored = _Index((name.removeprefix(prefix), None) for name in self.ignored)
        self._spare = _Index((name.removeprefix(prefix), None) for name in self.spare)

    def configured(self, spec: Any) -> "Layout":
        """Give the layout for one spec, where a transform needs to know more than shapes.

        Such a transform has a method `for_spec(spec)` that gives the transform to use.
        """
        rows = [(row.hub, row.zoo, _Chain(_configured(row, spec))) for row in self.rows]
        return Layout(
            *rows,
            ignored=self.ignored,
            spare=self.spare,
            old_spellings=self.old_spellings,
            prefix=self.prefix,
            other_prefixes=self.other_prefixes,
        )

    def bare(self, name: str) -> str:
        """Give a file's tensor name without the prefix and in today's spelling."""
        for prefix in (self.prefix, *self.other_prefixes):
            if prefix and name.startswith(prefix):
                name = name.removeprefix(prefix)
                break
        for old, new in self.old_spellings:
            if name.endswith(old):
                return name.removesuffix(old) + new
        return name

    def knows(self, bare: str) -> bool:
        """Tell whether a row of this layout reads the tensor."""
        return self._by_hub.find(bare) is not None

    def ignores(self, bare: str) -> bool:
        """Tell whether the tensor is declared as not needed."""
        return self._ignored.find(bare) is not None

    def spares(self, bare: str) -> bool:
        """Tell whether the tensor may be there although no parameter takes it."""
        return self._spare.find(bare) is not None

    def bind(self, names: Iterable[str]) -> tuple[Row, ...]:
        """Give the rows that fill parameters of these names, with layer numbers in place of `{}`, each row once.

        Raises InvalidLayout when a parameter has no row, or a row that splits lacks one of its parts.
        """
        bound: dict[Names, Row] = {}
        readers: dict[str, Names] = {}
        wanted = set(names)
        for name in names:
            found = self._by_zoo.find_all(name)
            if not found:
                raise InvalidLayout(
                    f"The layout has no row for the parameter '{name}'. Add one to the architecture's Layout"
                )
            filled = [(row, numbers, tuple(_fill(part, numbers) for part in row.zoo)) for row, numbers in found]
            whole = [entry for entry in filled if wanted.issuperset(entry[2])]
            if not whole:
                raise InvalidLayout(
                    f"The layout's row for '{name}' also fills {sorted(set(filled[-1][2]) - wanted)}, which do not exist"
                )
            row, numbers, zoo = whole[0]
            hub = tuple(_fill(part, numbers) for part in row.hub)
            for part in hub:
                if readers.setdefault(part, zoo) != zoo:
                    raise InvalidLayout(f"The layout reads '{part}' into both {readers[part]} and {zoo}")
            bound[zoo] = Row(hub, zoo, row.transforms)
        return tuple(bound.values())

    def _check(self) -> None:
        """Refuse a table that two names share, or whose rows cannot be undone."""
        hub = [name.removeprefix(self.prefix) for row in self.rows for name in row.hub]
        zoo = [(name, len(row.zoo)) for row in self.rows for name in row.zoo]
        for entries in ([(name, 0) for name in hub], zoo):
            twice = next((entry for entry in entries if entries.count(entry) > 1), None)
            if twice is not None:
                raise InvalidLayout(f"The layout names '{twice[0]}' in two rows; each name may stand in one only")
        for name in self.ignored:
            if name.removeprefix(self.prefix) in hub:
                raise InvalidLayout(f"The layout both reads and ignores '{name}'; it would do one of them")
        for name in self.spare:
            if name.removeprefix(self.prefix) not in hub:
                raise InvalidLayout(f"The layout has no row for '{name}', which it calls spare; ignore it instead")
        for row in self.rows:
            if len({name.count("{}") for name in row.hub + row.zoo}) != 1:
                raise InvalidLayout(
                    f"The layout's row {row.hub} -> {row.zoo} does not have the same number of {{}} everywhere"
                )


def join(
    backbone: Layout,
    head: Layout | None,
    with_prefix: bool,
    head_with_prefix: bool = False,
    other_prefix: str | None = None,
) -> Layout:
    """Give the table of a whole model: the backbone's rows under `backbone.`, the head's under `head.`.

    with_prefix: whether the Hub's names of the backbone carry its prefix when they are written. head_with_prefix: the
    same of a head that is spelled without it. other_prefix: the prefix to write, one of the backbone's others.
    """
    own = other_prefix or backbone.prefix
    prefix = own if with_prefix else ""
    rows = [
        (tuple(prefix + name for name in row.hub), tuple(f"backbone.{name}" for name in row.zoo), _Chain(row))
        for row in backbone.rows
    ]
    prefix = own if head_with_prefix else ""
    rows += [
        (tuple(prefix + name for name in row.hub), tuple(f"head.{name}" for name in row.zoo), _Chain(row))
        for row in (head.rows if head else ())
    ]
    return Layout(
        *rows,
        ignored=backbone.ignored + (head.ignored if head else ()),
        spare=backbone.spare,
        old_spellings=backbone.old_spellings,
        prefix=own,
        other_prefixes=[spelt for spelt in (backbone.prefix, *backbone.other_prefixes) if spelt != own],
    )


def _configured(row: Row, spec: Any) -> Row:
    transforms = [one.for_spec(spec) if hasattr(one, "for_spec") else one for one in row.transforms]
    return Row(row.hub, row.zoo, tuple(transforms))


class _Chain:
    """A row's transforms as one."""

    def __init__(self, row: Row) -> None:
        self.read, self.write = row.read, row.write


class _Index:
    """Finds the entry whose pattern, with `{}` for numbers, fits a name: by dictionary, all numbers taken out first."""

    def __init__(self, entries: Iterable[tuple[str, Row | None]]) -> None:
        self._entries: dict[str, list[tuple[list[str], Row]]] = {}
        for pattern, row in entries:
            alike = self._entries.setdefault(_NUMBER.sub("{}", pattern), [])
            alike.append((_NUMBER.findall(pattern), row or _NOTHING))
            alike.sort(key=lambda entry: entry[0].count("{}"))  # a number written out goes before a `{}`

    def find(self, name: str) -> tuple[Row, list[str]] | None:
        return next(iter(self.find_all(name)), None)

    def find_all(self, name: str) -> list[tuple[Row, list[str]]]:
        numbers = _NUMBER.findall(name)
        found = []
        for slots, row in self._entries.get(_NUMBER.sub("{}", name), []):
            pairs = list(zip(slots, numbers, strict=True))
            if all(slot in ("{}", number) for slot, number in pairs):
                found.append((row, [number for slot, number in pairs if slot == "{}"]))
        return found


_NOTHING = Row((), ())
_NUMBER = re.compile(r"(?:^|(?<=\.))(?:[0-9]+|{})(?=\.|$)")


def _fill(pattern: str, numbers: Sequence[str]) -> str:
    for number in numbers:
        pattern = pattern.replace("{}", number, 1)
    return pattern


def _row(hub: str | Names, zoo: str | Names, transform: str | Transform = "") -> Row:
    hub_names = (hub,) if isinstance(hub, str) else tuple(hub)
    zoo_names = (zoo,) if isinstance(zoo, str) else tuple(zoo)
    if not isinstance(transform, str):
        return Row(hub_names, zoo_names, (transform,))
    words = transform.split()
    if words == ["each"] and len(hub_names) == len(zoo_names):
        return Row(hub_names, zoo_names, (Each(),))
    known: dict[str, Transform] = {"fuse": Fuse(len(hub_names)), "transpose": Transpose(), "split": Split()}
    unknown = [word for word in words if word not in known]
    if unknown:
        raise InvalidLayout(f"The layout's row {hub_names} has the unknown transform {unknown}; known: {sorted(known)}")
    in_order = len(set(words)) == len(words) and "split" not in words[:-1]  # ours are the sizes to split into
    if ("split" in words) != (len(zoo_names) > 1) or ("fuse" in words) != (len(hub_names) > 1) or not in_order:
        raise InvalidLayout(f"The layout's row {hub_names} -> {zoo_names} cannot be undone by '{transform}'")
    return Row(hub_names, zoo_names, tuple(known[word] for word in words))
