"""One writer for a file: a lock that ends with the process that has it, however it ends."""

from __future__ import annotations

import errno
import sys
import time
from pathlib import Path
from typing import IO, Any

from detection.errors import InputError

if sys.platform != "win32":
    import fcntl

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # Of a file system without any.

_TRIES, _SECONDS = 20, 0.5  # A killed process's workers hold its files until they notice, within some seconds.


def claim(file: IO[Any], reason: str) -> None:
    """Keeps other processes from an open file until it is closed or this process ends.

    Args:
        file: The open file, to be written to.
        reason: What it means if another process holds it, for the message.

    Raises:
        InputError: If another has it.
    """
    if sys.platform == "win32":  # has no lock that leaves readers alone
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(reason) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def refuse_claimed(path: Path, reason: str) -> None:
    """Makes sure that nobody has claimed a file, waiting some seconds for the rest of a killed process to go.

    Raises:
        InputError: If another has it.
    """
    if not path.is_file():
        return
    for left in reversed(range(_TRIES)):
        try:
            with path.open("ab") as file:
                return claim(file, reason)
        except InputError:
            if not left:
                raise
            time.sleep(_SECONDS)
