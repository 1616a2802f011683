"""Plain files, as opposed to pipes and devices, which a data set from a stranger may hold."""

import stat
from pathlib import Path


def plain_size(path: Path, most: int) -> int:
    """The size of a file in bytes, if it is one that can be read: a pipe or a device could go on for ever.

    Args:
        path: a plain file or a link to one.
        most: bytes that it may have.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no plain file, is larger, or cannot be told: a link may lead to itself.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is not a file")
    if status.st_size > most:
        raise ValueError(f"{path} is not read: it has {status.st_size:,} bytes, and the limit is {most:,}")
    return status.st_size
