"""Memory of this process: settings of its allocator, and how much it took."""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # <malloc.h>
_LARGE = 2**30


def keep_freed_memory() -> bool:
    """Lets the process keep the memory it frees, instead of asking the system for fresh pages at every activation.

    Each image allocates and frees the same hundred megabytes of activations; glibc by default returns them to the
    system and faults them in again. Measured: 44 instead of 49-54 ms an image (docs/decisions.md). It acts on the
    whole process, so commands call it, not the library.

    Returns:
        Whether the allocator is glibc's and took the settings.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library, musl for one
        return False
    wanted = ((_M_MMAP_THRESHOLD, _LARGE), (_M_TRIM_THRESHOLD, 2 * _LARGE - 1), (_M_TOP_PAD, 2**26))
    return all(bool(mallopt(option, value)) for option, value in wanted)


def is_short_of_memory(error: Exception) -> bool:
    """Whether an error means that there was no memory, of the processor or of a GPU."""
    import torch  # here, since every command imports this file before it knows what it needs

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)


def peak_gib(device: torch.device) -> float | None:
    """The most memory that was in use so far: of the process on a CPU, of torch's tensors on a GPU.

    Returns:
        GiB; None where the system does not tell.
    """
    if device.type == "cuda":
        import torch  # here, as above

        return torch.cuda.max_memory_allocated(device) / 2**30
    if device.type != "cpu" or sys.platform == "win32":
        return None
    import resource  # not there on Windows

    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
