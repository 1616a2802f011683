"""Annotations of any number of images in memory-mapped arrays, built once from a data set's own files.

Python lists of annotations are copied into every process that loads images, page by page, as their reference counts
change; arrays in files are shared, and open at once (pytorch/pytorch#13246). Opened again, an index costs neither
parsing nor memory.

Indices are kept outside the data set's folder, which may be read-only, shared or from a stranger: in
``$VISIONLAB_CACHE``, else ``$XDG_CACHE_HOME/visionlab``, else ``~/.cache/visionlab``. They may be deleted between runs.
"""

import fcntl
import functools
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

ABANDONED = 24 * 60 * 60
"""Seconds after which what was being built is taken for the remains of a process that was killed."""


class Arrays:
    """Named arrays in a folder, each memory-mapped when first asked for. Pickled as the name of the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._opened:
            path = self.folder / f"{name}.npy"
            try:
                self._opened[name] = np.load(path, mmap_mode="r", allow_pickle=False)
            except (ValueError, EOFError, TokenError) as error:  # the last by numpy, of a header that is cut off
                raise ValueError(f"{path} is damaged: remove its folder, and it is built anew ({error})") from error
            except FileNotFoundError as error:  # caches are cleaned file by file in places
                raise FileNotFoundError(f"{path} is gone: remove {self.folder}, and it is built anew") from error
            except PermissionError as error:
                raise PermissionError(
                    f"{path} may not be read, for another user has built it: let them open {self.folder} to others, or "
                    "set VISIONLAB_CACHE to a folder of your own"
                ) from error
        return self._opened[name]

    def rows(self, name: str, index: int, offsets: str) -> Array:
        """The rows of one image: ``self[name][self[offsets][index] : self[offsets][index + 1]]``."""
        start, end = self[offsets][index : index + 2]
        return self[name][start:end]

    def text(self, name: str, index: int) -> str:
        """One of the strings written by :func:`save_strings`."""
        return bytes(self.rows(f"{name}_bytes", index, f"{name}_offsets")).decode("utf-8")

    def texts(self, name: str) -> list[str]:
        """All strings written by :func:`save_strings`."""
        return [self.text(name, i) for i in range(len(self[f"{name}_offsets"]) - 1)]

    def __getstate__(self) -> Path:
        return self.folder

    def __setstate__(self, folder: Path) -> None:
        self.folder, self._opened = folder, {}


def save(folder: Path, **arrays: Array) -> None:
    """Write arrays for :class:`Arrays` to open under the same names."""
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def save_strings(folder: Path, name: str, strings: Iterable[str]) -> None:
    """Write strings, in UTF-8, for :meth:`Arrays.text`."""
    encoded = [string.encode("utf-8") for string in strings]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in encoded], dtype=np.int64)])
    content = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    np.save(folder / f"{name}_bytes.npy", content)
    np.save(folder / f"{name}_offsets.npy", offsets.astype(np.int64))


def offsets_of(groups: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Where the rows of each group begin.

    Args:
        groups: ``(n,)``, ascending, in ``0..count-1``: the group of each row.
        count: of groups.

    Returns:
        ``(count + 1,)``: group i has the rows from entry i to entry i + 1.
    """
    return np.searchsorted(groups, np.arange(count + 1)).astype(np.int64)


def open_index(name: str, sources: Sequence[Path], build: Callable[[Path], None]) -> Arrays:
    """Open the index of some files, which is built if it was not, or if one of the files has changed since.

    Args:
        name: of what is indexed and of the form of the index: ``coco-instances-1``. A new form needs a new name.
        sources: the files (or folders, if only the names in them matter) from which it is built, all there. It is
            built anew when the size or the time of change of one differs.
        build: writes the arrays into a folder that it is given. If it raises, no index is kept.

    Raises:
        OSError: if a source is missing, or the index cannot be written; the message says how to choose another folder.
    """
    digest = hashlib.sha256(name.encode())
    resolved = functools.cache(Path.resolve)  # which costs more than the rest
    for source in sources:
        stat = source.stat()
        folder = resolved(source.parent)
        digest.update(f"{folder}/{source.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    index = cache() / f"{name}-{digest.hexdigest()[:32]}"
    build_folder(index, build)
    return Arrays(index)


def build_folder(folder: Path, build: Callable[[Path], None]) -> None:
    """Build beside the target and rename, unless it is there: another process sees the whole folder or none. Of
    processes that want the same, one builds and the others wait, where the file system has locks.

    Args:
        folder: below :func:`cache`.
        build: writes into a folder that it is given. If it raises, nothing is kept.

    Raises:
        OSError: if it cannot be written; the message says how to choose another folder.
    """
    with ExitStack() as stack:
        try:
            if folder.is_dir():
                return
            folder.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(folder.parent)
            stack.enter_context(_only_one(folder.with_name(f".building-{folder.name}.lock")))
            if folder.is_dir():  # by now
                return
            beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".building-"))
        except OSError as error:
            raise OSError(f"cannot write below {folder.parent} ({error}): set VISIONLAB_CACHE to a folder") from error
        stack.callback(shutil.rmtree, beside, ignore_errors=True)
        unfinished = beside / folder.name
        unfinished.mkdir()  # open to whom the umask says, as the folder of mkdtemp is not
        build(unfinished)
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same
                raise


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Wait until no other process holds the lock, and hold it; a process that is killed loses it. Go on without it
    where there are no locks, or the file is another user's: then the same is built twice, and one of the two is kept.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            file = stack.enter_context(lock.open("a"))
            stack.callback(_remove, lock)  # who waits for it has it open
            fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def _remove_abandoned(folder: Path) -> None:
    for path in folder.glob(".building-*"):
        with suppress(OSError):  # another process does the same
            if time.time() - path.stat().st_mtime > ABANDONED:
                _remove(path)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_file():
            path.unlink()
        else:
            shutil.rmtree(path)


def cache() -> Path:
    """The folder of what can be built again.

    Raises:
        OSError: if none is named, and the user has no home.
    """
    if chosen := os.environ.get("VISIONLAB_CACHE"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "visionlab"
    try:
        return Path.home() / ".cache" / "visionlab"
    except RuntimeError as error:
        raise OSError("this user has no home to keep indices in: set VISIONLAB_CACHE to a folder") from error
