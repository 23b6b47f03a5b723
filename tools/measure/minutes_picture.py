"""A picture of AP by minutes of training: a line for each side, minutes on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from jinja2 import Environment

_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 540, 20, 270
_MARGIN = 20
_COLOURS = ("#0b6e4f", "#b5541c", "#33539e")

_SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 560 320" font-family="sans-serif" font-size="13">
<title>AP by minutes of training: {{ name }}</title>
<rect width="100%" height="100%" fill="#fff"/>
{% for tick in ticks %}
<path d="M{{ left }} {{ tick.y }}H{{ right }}" stroke="#ddd"/>
<text x="{{ left - 8 }}" y="{{ tick.y + 4 }}" text-anchor="end">{{ tick.text }}</text>
{% endfor %}
{% for place in places %}
<text x="{{ place.x }}" y="{{ bottom + 20 }}" text-anchor="middle">{{ place.text }}</text>
{% endfor %}
<text x="{{ left }}" y="{{ top - 6 }}">AP</text>
<text x="{{ (left + right) / 2 }}" y="{{ bottom + 42 }}" text-anchor="middle">minutes of training</text>
{% for line in lines %}
<polyline points="{{ line.path }}" stroke="{{ line.colour }}" fill="none" stroke-width="2"/>
{% for dot in line.dots %}
<circle cx="{{ dot.x }}" cy="{{ dot.y }}" r="4" fill="{{ line.colour }}"><title>{{ dot.text }}</title></circle>
{% endfor %}
<text x="{{ right }}" y="{{ line.dots[-1].y - 10 }}" text-anchor="end" fill="{{ line.colour }}">{{ line.name }}</text>
{% endfor %}
</svg>
"""


class Point(NamedTuple):
    """One training.

    Attributes:
        side: Whose.
        minutes: How long.
        ap: COCO's AP in [0, 1].
        ap50: The same at IoU 0.5.
    """

    side: str
    minutes: float
    ap: float
    ap50: float


def draw(points: Sequence[Point], name: str) -> str:
    """The picture as SVG.

    Args:
        points: At least one.
        name: What was learnt, for the title.
    """
    times = sorted({point.minutes for point in points})
    highest = math.ceil(10 * max(point.ap for point in points) + 0.5) / 10

    def x(minutes: float) -> float:
        share = math.log(minutes / times[0]) / math.log(times[-1] / times[0]) if len(times) > 1 else 0.5
        return round(_LEFT + _MARGIN + (_RIGHT - _LEFT - 2 * _MARGIN) * share, 1)

    def y(ap: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * ap / highest, 1)

    lines = []
    for number, side in enumerate(dict.fromkeys(point.side for point in points)):
        own = sorted((point for point in points if point.side == side), key=lambda point: point.minutes)
        dots = [{"x": x(p.minutes), "y": y(p.ap), "text": f"{p.minutes:g} min: AP {p.ap:.3f}"} for p in own]
        path = " ".join(f"{dot['x']},{dot['y']}" for dot in dots)
        lines.append({"name": side, "colour": _COLOURS[number % len(_COLOURS)], "dots": dots, "path": path})
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_SVG).render(
        name=name,
        left=_LEFT,
        right=_RIGHT,
        top=_TOP,
        bottom=_BOTTOM,
        ticks=[{"y": y(tenth / 10), "text": f"{tenth / 10:.1f}"} for tenth in range(round(10 * highest) + 1)],
        places=[{"x": x(minutes), "text": f"{minutes:g}"} for minutes in times],
        lines=lines,
    )
