"""Getting the files of a data set from its publisher: resumed where they broke off, whole or not there at all."""

import hashlib
import http.client
import shutil
import tarfile
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

SILENCE = 20.0
"""Seconds without a byte after which a server counts as away."""

CHUNK = 1 << 18


@dataclass(frozen=True)
class Remote:
    """A file as its publisher offers it.

    Attributes:
        path: where it belongs, relative to the root of the data set.
        size: in bytes.
        md5: in hexadecimal.
        urls: the publisher's own address and mirrors of the same bytes, in the order in which they are tried.
    """

    path: str
    size: int
    md5: str
    urls: tuple[str, ...]


def md5(path: Path) -> str:
    """The MD5 checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def fetch(remote: Remote, root: Path, command: str) -> Path:
    """Download a file, unless it lies there already with the right checksum.

    The bytes gather in ``<file>.part``, which a later call continues, and take the file's name once their checksum is
    right.

    Args:
        remote: the file.
        root: the root of the data set.
        command: what the user runs to go on once they have put the file there themselves.

    Raises:
        OSError: if no address gives the file; the message says which file to put where.
    """
    path = root / remote.path
    if path.is_file() and md5(path) == remote.md5:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
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
        if md5(part) == remote.md5:
            part.replace(path)
            return path
        part.unlink()
        if resumed:  # what was there before may be to blame
            addresses.insert(0, url)
        else:
            failures.append(f"{url}: wrong checksum")
    raise OSError(
        f"{path} could not be downloaded ({'; '.join(failures)}). Put the file there by hand "
        f"({remote.size:,} bytes, md5 {remote.md5}), then run `{command}`"
    )


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

    Raises:
        OSError: if the server refuses, or closes the connection early.
    """
    headers = {"User-Agent": "visionlab", "Range": f"bytes={have}-"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SILENCE) as response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if resumed else 0  # a server that knows no ranges sends the file from its start
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(total=size, initial=have, unit="B", unit_scale=True, desc=part.stem) as bar,
        ):
            while have <= size and (chunk := response.read(CHUNK)):
                file.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
    if have > size:
        part.unlink()  # another file
    if have != size:
        raise OSError(f"sent {have:,} bytes, not {size:,}")


def extract(archive: Path, root: Path) -> None:
    """Unpack a tar archive: each file appears whole or not at all, and replaces one of its name.

    Only plain files and folders are unpacked, and only below ``root``.

    Raises:
        ValueError: if a member is anything else or lies elsewhere, or if the archive is damaged; nothing is unpacked
            then.
    """
    with tempfile.TemporaryDirectory(dir=root, prefix=".unpacking-") as folder:
        try:
            with tarfile.open(archive) as tar:
                for member in tar:
                    _unpack(tar, member, archive, Path(folder))
        except (tarfile.TarError, EOFError) as error:
            raise ValueError(f"{archive} is not a whole archive: {error}") from error
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file():
                target = root / file.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, archive: Path, folder: Path) -> None:
    if member.isdir():
        return
    name = PurePosixPath(member.name)
    content = tar.extractfile(member) if member.isreg() else None
    if content is None or name.is_absolute() or ".." in name.parts:
        raise ValueError(f"{archive} holds {member.name!r}, which is not a plain file below its root")
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file)
