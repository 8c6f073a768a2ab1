"""Layouts: tables of tensor names, read in both directions."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Size, Tensor

from zoo.checkpoint.layout import Layout, Row, join
from zoo.errors import InvalidLayout


def read(layout: Layout, ours: dict[str, Size], hub: dict[str, Tensor]) -> dict[str, Tensor]:
    """Read the Hub's tensors through every row that parameters of these names and shapes need."""
    result = {}
    for row in layout.bind(ours):
        result |= zip(row.zoo, row.read([hub[name] for name in row.hub], [ours[name] for name in row.zoo]), strict=True)
    return result


def write(layout: Layout, ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Write our tensors through every row."""
    result = {}
    for row in layout.bind(ours):
        result |= zip(row.hub, row.write([ours[name] for name in row.zoo]), strict=True)
    return result


def names(rows: tuple[Row, ...]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(row.hub, row.zoo) for row in rows]


def counted(*shape: int) -> Tensor:
    """A tensor with different values everywhere."""
    return torch.arange(torch.Size(shape).numel()).reshape(shape)


def test_a_row_renames() -> None:
    layout = Layout(("word.weight", "tokens.weight"))
    assert names(layout.bind(["tokens.weight"])) == [(("word.weight",), ("tokens.weight",))]
    tensor = counted(2, 3)
    (read_back,) = layout.bind(["tokens.weight"])[0].read([tensor], [tensor.shape])
    assert read_back is tensor


def test_transpose_swaps_the_axes_both_ways() -> None:
    (row,) = Layout(("a", "b", "transpose")).bind(["b"])
    (ours,) = row.read([torch.tensor([[1, 2, 3], [4, 5, 6]])], [Size([3, 2])])
    assert ours.tolist() == [[1, 4], [2, 5], [3, 6]]
    assert row.write([ours])[0].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_split_cuts_along_the_first_axis_by_our_sizes() -> None:
    (row,) = Layout(("qkv", ("q", "k"), "split")).bind(["q", "k"])
    q, k = row.read([torch.tensor([[1, 2], [3, 4], [5, 6]])], [Size([2, 2]), Size([1, 2])])
    assert (q.tolist(), k.tolist()) == ([[1, 2], [3, 4]], [[5, 6]])
    assert row.write([q, k])[0].tolist() == [[1, 2], [3, 4], [5, 6]]


def test_fuse_joins_along_the_first_axis() -> None:
    (row,) = Layout((("gate", "up"), "both", "fuse")).bind(["both"])
    (both,) = row.read([torch.tensor([[1, 2]]), torch.tensor([[3, 4]])], [Size([2, 2])])
    assert both.tolist() == [[1, 2], [3, 4]]
    assert [tensor.tolist() for tensor in row.write([both])] == [[[1, 2]], [[3, 4]]]


def test_transpose_split_reads_a_conv1d_of_three_projections() -> None:
    layout = Layout(("h.{}.c_attn.weight", tuple(f"layers.{{}}.{part}.weight" for part in "qkv"), "transpose split"))
    ours = [f"layers.4.{part}.weight" for part in "qkv"]
    (row,) = layout.bind(ours)
    assert row.hub == ("h.4.c_attn.weight",)
    hub = counted(2, 9)  # (in, 3 · out)
    q, k, v = row.read([hub], [Size([3, 2])] * 3)
    assert q.tolist() == [[0, 9], [1, 10], [2, 11]]
    assert k.tolist() == [[3, 12], [4, 13], [5, 14]]
    assert v.tolist() == [[6, 15], [7, 16], [8, 17]]
    assert torch.equal(row.write([q, k, v])[0], hub)


class Interleaved:
    """A transform of an architecture's own: rows of two tensors in turn."""

    def read(self, tensors: list[Tensor], shapes: list[Size]) -> list[Tensor]:
        return [tensors[0][0::2], tensors[0][1::2]]

    def write(self, tensors: list[Tensor]) -> list[Tensor]:
        return [torch.stack(tensors, 1).flatten(0, 1)]


def test_an_architecture_may_bring_a_transform_of_its_own() -> None:
    (row,) = Layout(("mixed", ("even", "odd"), Interleaved())).bind(["even", "odd"])
    even, odd = row.read([counted(4, 1)], [Size([2, 1])] * 2)
    assert (even.tolist(), odd.tolist()) == ([[0], [2]], [[1], [3]])
    assert torch.equal(row.write([even, odd])[0], counted(4, 1))
    on_meta = row.write([torch.empty(2, 1, device="meta")] * 2)
    assert [tensor.shape for tensor in on_meta] == [Size([4, 1])]


def test_braces_stand_for_a_layers_number() -> None:
    layout = Layout(("encoder.layer.{}.bias", "layers.{}.bias"))
    assert names(layout.bind(["layers.0.bias", "layers.12.bias"])) == [
        (("encoder.layer.0.bias",), ("layers.0.bias",)),
        (("encoder.layer.12.bias",), ("layers.12.bias",)),
    ]
    known = ("encoder.layer.7.bias", "encoder.layer.x.bias", "encoder.layer.bias", "encoder.layer.7.7.bias")
    assert [layout.knows(name) for name in known] == [True, False, False, False]


def test_braces_stand_twice_for_two_numbers_in_order() -> None:
    layout = Layout(("layers.{}.experts.{}.w", "l.{}.e.{}.weight"))
    assert names(layout.bind(["l.3.e.11.weight"])) == [(("layers.3.experts.11.w",), ("l.3.e.11.weight",))]


def test_braces_stand_at_either_end_of_a_name() -> None:
    layout = Layout(("{}.bias", "{}.b"), ("scales.{}", "scales.{}"))
    assert names(layout.bind(["5.b", "scales.2"])) == [(("5.bias",), ("5.b",)), (("scales.2",), ("scales.2",))]


@pytest.mark.parametrize(
    ("hub", "zoo", "name", "expected"),
    [
        ("h.{}.mlp.0.weight", "layers.{}.up.weight", "layers.3.up.weight", "h.3.mlp.0.weight"),
        ("stage.0.h.{}.weight", "first.{}.weight", "first.3.weight", "stage.0.h.3.weight"),
        ("h.{}.weight", "stage.1.h.{}.weight", "stage.1.h.3.weight", "h.3.weight"),
        ("h.{}.weight", "h.{}.mlp.2.weight", "h.3.mlp.2.weight", "h.3.weight"),
    ],
)
def test_a_number_of_the_names_own_stands_beside_a_pattern(hub: str, zoo: str, name: str, expected: str) -> None:
    layout = Layout((hub, zoo))
    assert names(layout.bind([name])) == [((expected,), (name,))]
    assert layout.knows(expected)


def test_a_row_for_one_number_goes_before_the_row_for_all() -> None:
    layout = Layout(("h.{}.norm", "layers.{}.norm"), ("embedding_norm", "layers.0.norm"))
    assert names(layout.bind(["layers.0.norm", "layers.1.norm"])) == [
        (("embedding_norm",), ("layers.0.norm",)),
        (("h.1.norm",), ("layers.1.norm",)),
    ]


def test_ignored_names_are_known_as_such_only() -> None:
    layout = Layout(("a", "b"), ignored=["bert.position_ids", "h.{}.mask"], prefix="bert.")
    for name in ("bert.position_ids", "position_ids", "h.5.mask"):
        assert (layout.ignores(layout.bare(name)), layout.knows(layout.bare(name))) == (True, False)
    assert not layout.ignores("a")


def test_the_prefix_may_be_there_or_not() -> None:
    layout = Layout(("word.weight", "tokens.weight"), prefix="bert.")
    assert [layout.bare(name) for name in ("bert.word.weight", "word.weight")] == ["word.weight"] * 2
    assert layout.bare("bert.bert.word.weight") == "bert.word.weight"
    assert not layout.knows("bert.word.weight")


def test_old_spellings_are_read_and_never_written() -> None:
    layout = Layout(("norm.weight", "n.weight"), old_spellings=[("norm.gamma", "norm.weight")], prefix="bert.")
    assert layout.bare("bert.norm.gamma") == "norm.weight"
    assert layout.bare("norm.gamma.x") == "norm.gamma.x"
    assert layout.bind(["n.weight"])[0].hub == ("norm.weight",)


def test_joined_tables_prefix_the_backbone_where_a_head_wants_it() -> None:
    backbone = Layout(("w.{}.x", "t.{}.y", "transpose"), ignored=["ids"], prefix="bert.")
    head = Layout(("cls.bias", "bias"), ignored=["cls.other"])
    with_prefix = join(backbone, head, with_prefix=True)
    rows = with_prefix.bind(["backbone.t.2.y", "head.bias"])
    assert names(rows) == [(("bert.w.2.x",), ("backbone.t.2.y",)), (("cls.bias",), ("head.bias",))]
    assert rows[0].read([counted(2, 3)], [Size([3, 2])])[0].tolist() == [[0, 3], [1, 4], [2, 5]]
    without = join(backbone, head, with_prefix=False)
    assert names(without.bind(["backbone.t.2.y"])) == [(("w.2.x",), ("backbone.t.2.y",))]
    for layout in (with_prefix, without):
        assert [layout.ignores(name) for name in ("ids", "cls.other", "cls.bias")] == [True, True, False]
        assert layout.bare("bert.w.2.x") == "w.2.x"


def test_a_head_that_is_spelled_without_the_prefix_can_be_given_it() -> None:
    layout = join(Layout(("w", "t"), prefix="bert."), Layout(("pooler", "dense")), True, head_with_prefix=True)
    assert names(layout.bind(["backbone.t", "head.dense"])) == [
        (("bert.w",), ("backbone.t",)),
        (("bert.pooler",), ("head.dense",)),
    ]


def test_spare_names_are_read_like_others_and_known_as_spare() -> None:
    backbone = Layout(("h.{}.a", "x.{}"), ("b", "y"), spare=["bert.h.{}.a"], prefix="bert.")
    for layout in (backbone, join(backbone, Layout(("cls", "bias")), with_prefix=True)):
        assert [layout.spares(name) for name in ("h.3.a", "b", "cls", "h.a")] == [True, False, False, False]
        assert layout.knows("h.3.a")
        assert not layout.ignores("h.3.a")


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([("a", "x"), ("a", "y")], {}, "The layout names 'a' in two rows; each name may stand in one only"),
        ([("a", "x"), ("b", "x")], {}, "The layout names 'x' in two rows; each name may stand in one only"),
        ([(("a", "a"), "x", "fuse")], {}, "The layout names 'a' in two rows; each name may stand in one only"),
        ([("a", "x"), ("bert.a", "y")], {"prefix": "bert."},
         "The layout names 'a' in two rows; each name may stand in one only"),
        ([("a", "x")], {"prefix": "bert.", "ignored": ["bert.a"]},
         "The layout both reads and ignores 'bert.a'; it would do one of them"),
        ([("a", "x")], {"prefix": "bert.", "spare": ["bert.b"]},
         "The layout has no row for 'bert.b', which it calls spare; ignore it instead"),
        ([("h.{}.a", "x")], {},
         "The layout's row ('h.{}.a',) -> ('x',) does not have the same number of {} everywhere"),
        ([("h.{}.a", ("l.{}.x", "y"), "split")], {},
         "The layout's row ('h.{}.a',) -> ('l.{}.x', 'y') does not have the same number of {} everywhere"),
        ([("a", "x", "rotate transpose")], {},
         "The layout's row ('a',) has the unknown transform ['rotate']; known: ['fuse', 'split', 'transpose']"),
        ([("a", ("x", "y"))], {}, "The layout's row ('a',) -> ('x', 'y') cannot be undone by ''"),
        ([("a", ("x", "y"), "transpose")], {}, "The layout's row ('a',) -> ('x', 'y') cannot be undone by 'transpose'"),
        ([("a", "x", "split")], {}, "The layout's row ('a',) -> ('x',) cannot be undone by 'split'"),
        ([("a", "x", "fuse")], {}, "The layout's row ('a',) -> ('x',) cannot be undone by 'fuse'"),
        ([(("a", "b"), "x")], {}, "The layout's row ('a', 'b') -> ('x',) cannot be undone by ''"),
        ([(("a", "b"), ("x", "y"), "split fuse")], {},
         "The layout's row ('a', 'b') -> ('x', 'y') cannot be undone by 'split fuse'"),
        ([("a", ("x", "y"), "split transpose")], {},
         "The layout's row ('a',) -> ('x', 'y') cannot be undone by 'split transpose'"),
        ([("a", ("x", "y"), "split split")], {},
         "The layout's row ('a',) -> ('x', 'y') cannot be undone by 'split split'"),
    ],
)  # fmt: skip
def test_a_table_that_is_no_bijection_is_refused(rows: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidLayout) as caught:
        Layout(*rows, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("rows", "parameters", "message"),
    [
        ([("a", "x")], ["y"],
         "The layout has no row for the parameter 'y'. Add one to the architecture's Layout"),
        ([("h.{}.a", "l.{}.x")], ["l.one.x"],
         "The layout has no row for the parameter 'l.one.x'. Add one to the architecture's Layout"),
        ([("h.{}.a", ("l.{}.x", "l.{}.y"), "split")], ["l.2.x"],
         "The layout's row for 'l.2.x' also fills ['l.2.y'], which do not exist"),
        ([("h.{}.a", "l.{}.x"), ("h.0.a", "first")], ["first", "l.0.x"],
         "The layout reads 'h.0.a' into both ('first',) and ('l.0.x',)"),
    ],
)  # fmt: skip
def test_parameters_that_the_table_does_not_fill_once_are_refused(
    rows: list[Any], parameters: list[str], message: str
) -> None:
    with pytest.raises(InvalidLayout) as caught:
        Layout(*rows).bind(parameters)
    assert str(caught.value) == message


def test_a_fused_tensor_always_gives_back_as_many_as_the_row_names() -> None:
    (row,) = Layout((("a", "b", "c"), "x", "fuse")).bind(["x"])
    assert [tensor.shape for tensor in row.write([counted(4, 3)])] == [Size([2, 3]), Size([1, 3]), Size([1, 3])]


SIZES = st.integers(1, 4)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Layout, dict[str, Tensor]]:
    """A table of random rows with tensors of ours that it fits: different names, layers and transforms."""
    rows: list[Any] = []
    ours: dict[str, Tensor] = {}
    for number in range(draw(st.integers(1, 5))):
        kind = draw(
            st.sampled_from(["", "transpose", "split", "transpose split", "fuse", "fuse transpose", "fuse split"])
        )
        braces, layers = draw(st.sampled_from([("", [()]), (".{}", [(0,), (3,)]), (".{}.m.{}", [(0, 12), (12, 0)])]))
        fixed = draw(st.sampled_from(["", ".0", ".7.x"]))
        zoo_parts = draw(st.integers(2, 3)) if "split" in kind else 1
        hub_parts = 2 if "fuse" in kind else 1
        hub = tuple(f"hub{number}{fixed}.{part}{braces}.w" for part in range(hub_parts))
        zoo = tuple(f"zoo{number}{braces}.{part}{fixed}" for part in range(zoo_parts))
        rows.append((hub if hub_parts > 1 else hub[0], zoo if zoo_parts > 1 else zoo[0], kind))
        heights = [draw(SIZES) * (2 if "fuse" in kind else 1) for _ in zoo]
        width = draw(SIZES) * (2 if "fuse" in kind else 1)
        for layer in layers:
            for name, height in zip(zoo, heights, strict=True):
                filled = name.replace("{}", "%d") % layer
                ours[filled] = torch.randint(
                    0, 1000, (height, width), generator=torch.Generator().manual_seed(len(ours))
                )
    order = draw(st.permutations(list(ours)))
    prefix = draw(st.sampled_from(["", "bert."]))
    return Layout(*rows, prefix=prefix), {name: ours[name] for name in order}


@settings(max_examples=80, deadline=None)
@given(table=tables())
def test_any_table_reads_back_what_it_writes_and_names_everything_once(table: tuple[Layout, dict[str, Tensor]]) -> None:
    layout, ours = table
    rows = layout.bind(ours)
    hub_names = [name for row in rows for name in row.hub]
    assert len(set(hub_names)) == len(hub_names)
    assert sorted(name for row in rows for name in row.zoo) == sorted(ours)
    assert all(layout.knows(layout.bare(layout.prefix + name)) for name in hub_names)

    shapes = {name: tensor.shape for name, tensor in ours.items()}
    hub = write(layout, ours)
    back = read(layout, shapes, hub)
    assert sorted(back) == sorted(ours)
    assert all(torch.equal(back[name], ours[name]) for name in ours)
    again = write(layout, back)
    assert sorted(again) == sorted(hub)
    assert all(torch.equal(again[name], hub[name]) for name in hub)
