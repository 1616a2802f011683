"""Getting the files of a data set from its publisher: resumed where they broke off, whole or not there at all."""

import fcntl
import gzip
import hashlib
import http.client
import os
import shutil
import stat
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import IO, cast

from tqdm import tqdm

SILENCE = 20.0
"""Seconds without a byte after which a server counts as away."""

CHUNK = 1 << 18

RATIO = 100
"""How many times its own size an archive may unpack to; images hardly shrink, and annotations to a tenth at most."""

HEADER = 1 << 20
"""Bytes that one header of a tar archive may have."""


@dataclass(frozen=True)
class Remote:
    """A file as its publisher offers it.

    Attributes:
        path: where it belongs, relative to the root of the data set.
        size: in bytes.
        md5: in hexadecimal; None where nobody has published it, and the size and the beginning tell the file.
        urls: the publisher's own address and mirrors of the same bytes, in the order in which they are tried.
        begins: with one of these the file begins.
    """

    path: str
    size: int
    md5: str | None
    urls: tuple[str, ...]
    begins: tuple[bytes, ...] = (b"",)


def md5(path: Path) -> str:
    """The MD5 checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def fetch(remote: Remote, root: Path, command: str) -> Path:
    """Download a file, unless it lies there already with the right size and checksum.

    The bytes gather in ``<file>.part``, which a later call continues, and take the file's name once they are right. Of
    several processes one downloads, and the others wait for it.

    Args:
        remote: the file.
        root: the root of the data set.
        command: what the user runs to go on once they have put the file there themselves.

    Raises:
        OSError: if no address gives the file; the message says which file to put where. Or if the file system has no
            locks.
    """
    path = root / remote.path
    if not (path.is_file() and is_right(path, remote)):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            if not (path.is_file() and is_right(path, remote)):  # another process may have brought it meanwhile
                _download(path, remote, command)
    return path


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process downloads a file, and keep others from it.

    The lock is the kernel's, which frees it when the process dies, however it does.
    """
    name = path.with_name(path.name + ".lock")
    while True:
        lock = name.open("w")
        try:
            _lock(lock, path)
        except BaseException:
            lock.close()
            raise
        try:
            if name.stat().st_ino == os.fstat(lock.fileno()).st_ino:
                break
        except FileNotFoundError:
            pass
        lock.close()  # its holder was done, and removed it: others hold another one now
    with lock:
        try:
            yield
        finally:
            name.unlink(missing_ok=True)


def _lock(lock: IO[str], path: Path) -> None:
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another process is downloading {path}: waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise OSError(
            f"{lock.name} cannot be locked ({error.strerror}), so two processes could spoil each other's download: "
            "download to another file system, and move the files"
        ) from error


def _download(path: Path, remote: Remote, command: str) -> None:
    part = path.with_name(path.name + ".part")
    failures = []
    addresses = list(remote.urls)
    while addresses:
        url = addresses.pop(0)
        resumed = part.exists()
        try:
            _fill(part, url, remote.size)
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{url}: {error}")
            continue
        if is_right(part, remote):
            part.replace(path)
            return
        part.unlink()
        if resumed:  # what was there before may be to blame
            addresses.insert(0, url)
        else:
            failures.append(f"{url}: {'another file' if remote.md5 is None else 'wrong checksum'}")
    checksum = "" if remote.md5 is None else f", md5 {remote.md5}"
    raise OSError(
        f"{path} could not be downloaded ({'; '.join(failures)}). Put the file there by hand "
        f"({remote.size:,} bytes{checksum}), then run `{command}`"
    )


def is_right(path: Path, remote: Remote) -> bool:
    """Whether a file has the size, the beginning and the checksum that it must have."""
    same_size = path.stat().st_size == remote.size
    return same_size and begins(path, remote.begins) and (remote.md5 is None or md5(path) == remote.md5)


def begins(path: Path, beginnings: tuple[bytes, ...]) -> bool:
    """Whether a file begins with one of some bytes."""
    with path.open("rb") as file:
        return file.read(max(map(len, beginnings))).startswith(beginnings)


def refuse_page(headers: Message) -> None:
    """Refuse a web page in place of a file, as the login of a network gives one for any address.

    Raises:
        OSError: if it is one.
    """
    if headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise OSError("the answer is a web page: a proxy, or a network that asks for a login?")


def _fill(part: Path, url: str, size: int) -> None:
    """Complete a partial file, going on as long as each attempt brings it further."""
    while (have := part.stat().st_size if part.exists() else 0) != size:
        if have > size:
            part.unlink()
            continue
        try:
            _transfer(part, url, have, size)
        except (OSError, http.client.HTTPException):
            if not part.exists() or part.stat().st_size <= have:
                raise


def _transfer(part: Path, url: str, have: int, size: int) -> None:
    """Append to a partial file what one connection gives.

    Nothing is kept of an answer that tells of another length than the file's: it is an error page, or another file.

    Raises:
        OSError: if the server refuses, sends something else, or closes the connection early.
    """
    headers = {"User-Agent": "visionlab", "Range": f"bytes={have}-"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SILENCE) as response:
        refuse_page(response.headers)
        span = response.headers.get("Content-Range", "")
        resumed = response.status == 206 and span.startswith(f"bytes {have}-")
        have = have if resumed else 0  # a server that knows no ranges sends the file from its start
        length = span.rpartition("/")[2] if resumed else response.headers.get("Content-Length", "")
        if length.isdigit() and int(length) != size:  # neither must be there
            raise OSError(f"offers {int(length):,} bytes, not {size:,}")
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(total=size, initial=have, unit="B", unit_scale=True, desc=part.stem) as bar,
        ):
            while have <= size and (chunk := response.read(CHUNK)):
                file.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
    if have > size or (have < size and not length.isdigit()):
        part.unlink()  # another file
    if have != size:
        raise OSError(f"sent {have:,} bytes, not {size:,}")


def extract(archive: Path, root: Path) -> None:
    """Unpack an archive, zip or else tar, by its name: each file appears whole or not at all, and replaces one of its
    name.

    Only plain files and folders are unpacked, and only below ``root``.

    Raises:
        ValueError: if a member is anything else or lies elsewhere, if the members together are more than :data:`RATIO`
            times as large as the archive, or if it is damaged; nothing is unpacked then.
    """
    left = RATIO * archive.stat().st_size
    with tempfile.TemporaryDirectory(dir=root, prefix=".unpacking-") as folder:
        try:
            for member in _zip_members(archive) if archive.suffix == ".zip" else _tar_members(archive):
                left -= member.size
                if left < 0:
                    raise ValueError(f"{archive} would unpack to more than {RATIO} times its size")
                _unpack(member, archive, Path(folder))
        except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise ValueError(f"{archive} is not a whole archive: {error}") from error
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file():
                target = root / file.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)


@dataclass(frozen=True)
class _Member:
    """A file in an archive: its name there, its size unpacked, and its content, None if it is no plain file."""

    name: str
    size: int
    content: IO[bytes] | None


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            if info.is_dir():
                continue
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was not made on Unix
            plain = kind in (0, stat.S_IFREG) and not info.flag_bits & 1  # that bit: encrypted
            try:
                yield _Member(info.filename, info.file_size, file.open(info) if plain else None)
            except NotImplementedError as error:  # a method of compression that zipfile does not know
                raise zipfile.BadZipFile(f"{info.filename!r}: {error}") from error


def _tar_members(archive: Path) -> Iterator[_Member]:
    compressed = archive.suffix in (".gz", ".tgz")
    with gzip.open(archive) if compressed else archive.open("rb") as file:
        bounded = cast(IO[bytes], _Bounded(cast(IO[bytes], file), archive))
        with tarfile.open(fileobj=bounded, mode="r:") as tar:
            for member in tar:
                if not member.isdir():
                    yield _Member(member.name, member.size, tar.extractfile(member) if member.isreg() else None)


class _Bounded:
    """What ``tarfile`` reads from. It reads each header whole, and as long as the header itself claims to be."""

    def __init__(self, file: IO[bytes], archive: Path) -> None:
        self.file, self.archive = file, archive
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > HEADER:
            raise ValueError(f"{self.archive} holds a header of {size:,} bytes")
        return self.file.read(size)


def _unpack(member: _Member, archive: Path, folder: Path) -> None:
    name = PurePosixPath(member.name)
    if member.content is None or name.is_absolute() or ".." in name.parts:
        raise ValueError(f"{archive} holds {member.name!r}, which is not a plain file below its root")
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with member.content as content, target.open("wb") as file:
        shutil.copyfileobj(content, file)
