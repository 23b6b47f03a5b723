"""AP by minutes: every point once, and a picture that shows each where it belongs."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest

from detection.errors import InputError
from tests.builders import toy_images, write_voc
from tests.tools.running import run_command
from tools.measure import ap_by_minutes as command
from tools.measure.minutes_picture import Point, draw
from tools.measure.torchvision_peer import BATCH_SIZE

run = partial(run_command, command.ap_by_minutes)

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("text", ["", "a", "1,,2", "0", "-1", "nan", "inf"])
def test_times_that_are_no_times_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="positive numbers by commas"):
        command.parse_minutes(text)


def test_times_are_sorted_and_each_is_taken_once() -> None:
    assert command.parse_minutes("5, 0.5,1,5") == [0.5, 1, 5]


def test_the_picture_has_a_line_for_each_side_by_time_and_higher_for_more() -> None:
    points = [
        Point("b", 40, 0.2, 0.4),
        Point("a <b>", 1, 0.3, 0.5),
        Point("a <b>", 40, 0.6, 0.9),
        Point("b", 1, 0.1, 0.2),
    ]
    picture = ElementTree.fromstring(draw(points, "cells & <cards>"))
    lines = [line.get("points", "") for line in picture.iter(f"{SVG}polyline")]
    (b1, b40), (a1, a40) = ([tuple(map(float, place.split(","))) for place in line.split()] for line in lines)
    assert a1[0] == b1[0] < a40[0] == b40[0]
    assert a40[1] < a1[1] < b40[1] < b1[1]  # y grows downwards
    assert re.findall(r"\S+ min: AP \S+", " ".join(picture.itertext()))[2:] == ["1 min: AP 0.300", "40 min: AP 0.600"]


def test_one_time_is_a_picture_as_well() -> None:
    assert "nan" not in draw([Point("a", 5, 0.0, 0.0)], "toy")


@pytest.mark.slow
def test_points_are_measured_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_voc(tmp_path / "toy", {"train": toy_images(BATCH_SIZE), "test": toy_images(2)})
    out = tmp_path / "out"
    assert run(data, "--out", out, "--minutes", 0.05) == 0
    points = (out / "points.json").read_text()
    assert [row[:2] for row in json.loads(points)] == [[command.OURS, 0.05], [command.PEER, 0.05]]
    assert (out / "ap_by_minutes.svg").exists()
    capsys.readouterr()
    assert run(data, "--out", out, "--minutes", 0.05) == 0
    assert (out / "points.json").read_text() == points
    assert re.search(r"0\.05 +│ \d", capsys.readouterr().out)
