"""How long a call takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def timed(
    function: Callable[Arguments, Answer], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> tuple[Answer, float]:
    """Calls it; its answer and the seconds it took."""
    started = time.perf_counter()
    answer = function(*args, **kwargs)
    return answer, time.perf_counter() - started
