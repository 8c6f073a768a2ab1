"""Line charts as SVG."""

import math
import re
from xml.etree import ElementTree

import pytest

from zoo.training.charts import Series, draw, smooth, thin, ticks


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (0.0, 10.0, [0, 2, 4, 6, 8, 10]),
        (1.0, 2400.0, [0, 500, 1000, 1500, 2000, 2500]),
        (0.751, 0.93, [0.75, 0.8, 0.85, 0.9, 0.95]),
        (0.0, 5e-5, [0, 1e-5, 2e-5, 3e-5, 4e-5, 5e-5]),
        (-3.0, 3.0, [-4, -2, 0, 2, 4]),
        (7.0, 7.0, [2, 4, 6, 8, 10, 12]),
        (0.0, 0.0, [-0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6]),
    ],
)
def test_marks_are_round_and_cover_the_range(low: float, high: float, marks: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(marks)


def test_points_stand_where_their_values_are() -> None:
    picture = ElementTree.fromstring(draw([Series("loss", [(0, 0), (5, 10), (10, 5)])], "step", "loss"))
    assert picture.attrib["aria-label"] == "loss over step: loss"
    (line,) = picture.findall("g[@class='line']/path")
    # 58 is the left edge and 620 the right one; 216 the bottom and 14 the top, as SVG counts downwards.
    assert line.attrib["d"] == "M58.0 216.0L339.0 14.0L620.0 115.0"
    texts = [element.text for element in picture.findall("text")]
    assert texts == ["0", "2", "4", "6", "8", "10", "0", "2", "4", "6", "8", "10", "step"]


def test_all_series_share_the_axes_and_dots_are_drawn_where_asked_for() -> None:
    shown = draw([Series("a", [(0, 0), (4, 1)], "faint"), Series("b", [(2, 4), (8, 2)], "dots")], "step", "x")
    picture = ElementTree.fromstring(shown)
    assert picture.findall("g[@class='faint']/circle") == []
    assert picture.findall("g[@class='faint']/path")[0].attrib["d"] == "M58.0 216.0L339.0 165.5"
    dots = picture.findall("g[@class='dots']/circle")
    assert [(dot.attrib["cx"], dot.attrib["cy"]) for dot in dots] == [("198.5", "14.0"), ("620.0", "115.0")]


def test_what_is_no_number_is_left_out_and_nothing_gives_no_picture() -> None:
    shown = draw([Series("a", [(1, 1), (2, math.nan), (3, math.inf), (4, 2)])], "step", "x")
    assert "nan" not in shown and "inf" not in shown
    assert draw([Series("a", [(1, math.nan)]), Series("b", [])], "step", "x") == ""


def test_one_point_alone_is_a_dot() -> None:
    assert len(re.findall("<circle", draw([Series("a", [(1, 0.5)])], "step", "x"))) == 1


def test_names_cannot_end_the_picture() -> None:
    shown = draw([Series('"><script>', [(1, 2), (2, 3)])], "<b>", "&")
    assert "<script>" not in shown and "<b>" not in shown
    ElementTree.fromstring(shown)


def test_many_points_become_means_of_neighbours_and_few_stay() -> None:
    points = [(float(x), float(x % 2)) for x in range(1000)]
    thinned = thin(points, 250)
    assert len(thinned) == 250
    assert thinned[:2] == [(1.5, 0.5), (5.5, 0.5)]
    assert thin(points[:250], 250) == points[:250]


def test_a_mean_is_over_the_values_up_to_its_own() -> None:
    assert smooth([1, 2, 3, 10], 0.5) == [1, 1.5, 2.5, 6.5]
    assert smooth([4, 6], 0.05) == [4, 6]
