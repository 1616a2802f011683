import gzip
import hashlib
import io
import stat
import tarfile
import threading
import tracemalloc
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from visionlab.data.download import Remote, extract, fetch, md5

CONTENT = np.random.default_rng(0).bytes(1_000_000)


class Server(ThreadingHTTPServer):
    """Serves ``content`` at every address, and misbehaves on demand."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.ranges = True
        self.kind = None  # the Content-Type
        self.cuts = []  # how many bytes each of the next answers sends before the connection breaks
        self.asked = []  # path and Range of each request

    def url(self, path: str = "/file") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):  # the base class calls it so
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append((self.path, asked))
        if self.path == "/missing":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        if start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if asked and server.ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        if server.kind:
            self.send_header("Content-Type", server.kind)
        if asked and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.end_headers()
        if server.cuts:
            self.wfile.write(body[: server.cuts.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def remote(*urls: str, content: bytes = CONTENT) -> Remote:
    return Remote("folder/file.bin", len(content), hashlib.md5(content).hexdigest(), urls)


def files(root):
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def test_fetches_a_file(server, tmp_path, capsys):
    path = fetch(remote(server.url()), tmp_path, "again")
    assert path == tmp_path / "folder" / "file.bin"
    assert path.read_bytes() == CONTENT
    assert files(tmp_path) == ["file.bin"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "file.bin" in captured.err  # the progress bar


def test_a_file_that_is_there_is_not_fetched_again(server, tmp_path):
    fetch(remote(server.url()), tmp_path, "again")
    fetch(remote(server.url()), tmp_path, "again")
    assert len(server.asked) == 1


def test_a_file_of_other_bytes_is_replaced(server, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file.bin").write_bytes(b"cut")
    assert fetch(remote(server.url()), tmp_path, "again").read_bytes() == CONTENT


def test_goes_on_where_connections_broke(server, tmp_path):
    server.cuts = [400_000, 300_000]
    assert fetch(remote(server.url()), tmp_path, "again").read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == ["bytes=0-", "bytes=400000-", "bytes=700000-"]


def test_goes_on_where_an_earlier_call_broke_off(server, tmp_path):
    server.cuts = [600_000, 0]
    with pytest.raises(OSError, match="sent 600,000 bytes, not 1,000,000"):
        fetch(remote(server.url()), tmp_path, "again")
    assert files(tmp_path) == ["file.bin.part"]
    assert fetch(remote(server.url()), tmp_path, "again").read_bytes() == CONTENT
    assert server.asked[-1][1] == "bytes=600000-"
    assert files(tmp_path) == ["file.bin"]


def test_begins_again_where_the_server_knows_no_ranges(server, tmp_path):
    server.ranges, server.cuts = False, [400_000]
    assert fetch(remote(server.url()), tmp_path, "again").read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_wrong_checksum_is_refused_and_not_left_behind(server, tmp_path):
    server.content = bytes(len(CONTENT))
    with pytest.raises(OSError, match="wrong checksum"):
        fetch(remote(server.url()), tmp_path, "again")
    assert files(tmp_path) == []


def test_a_damaged_beginning_is_thrown_away(server, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file.bin.part").write_bytes(bytes(500_000))
    assert fetch(remote(server.url()), tmp_path, "again").read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == ["bytes=500000-", "bytes=0-"]


@pytest.mark.parametrize("left", [len(CONTENT), len(CONTENT) + 1])
def test_a_beginning_that_is_no_beginning_is_thrown_away(server, tmp_path, left):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file.bin.part").write_bytes(bytes(left))
    assert fetch(remote(server.url()), tmp_path, "again").read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("size", [len(CONTENT) - 5, len(CONTENT) + 5])
def test_a_file_of_another_size_is_refused(server, tmp_path, ranges, size):
    server.content, server.ranges = bytes(size), ranges
    with pytest.raises(OSError, match="could not be downloaded"):
        fetch(remote(server.url()), tmp_path, "again")
    assert "file.bin" not in files(tmp_path)
    assert len(server.asked) <= 3


def test_takes_the_next_mirror(server, tmp_path):
    mirrors = remote("http://127.0.0.1:9/refused", server.url("/missing"), server.url("/good"))
    assert fetch(mirrors, tmp_path, "again").read_bytes() == CONTENT
    assert [path for path, _ in server.asked] == ["/missing", "/good"]


def test_the_next_mirror_goes_on_where_the_last_broke_off(server, tmp_path):
    server.cuts = [250_000, 0]
    assert fetch(remote(server.url("/a"), server.url("/b")), tmp_path, "again").read_bytes() == CONTENT
    assert server.asked == [("/a", "bytes=0-"), ("/a", "bytes=250000-"), ("/b", "bytes=250000-")]


def test_the_error_says_which_file_to_put_where(server, tmp_path):
    with pytest.raises(OSError, match="could not be downloaded") as caught:
        fetch(remote("http://127.0.0.1:9/refused", server.url("/missing")), tmp_path, "visionlab data download x")
    message = str(caught.value)
    for part in (
        f"Put the file there by hand (1,000,000 bytes, md5 {hashlib.md5(CONTENT).hexdigest()})",
        str(tmp_path / "folder" / "file.bin"),
        "http://127.0.0.1:9/refused: ",
        "404",
        "then run `visionlab data download x`",
    ):
        assert part in message
    assert "\n" not in message


def test_without_a_checksum_the_size_tells_the_file(server, tmp_path):
    unpublished = Remote("folder/file.bin", len(CONTENT), None, (server.url(),))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file.bin").write_bytes(b"cut")
    assert fetch(unpublished, tmp_path, "again").read_bytes() == CONTENT
    fetch(unpublished, tmp_path, "again")
    assert len(server.asked) == 1
    with pytest.raises(OSError, match=r"by hand \(2 bytes\), then run"):
        fetch(Remote("other", 2, None, (server.url("/missing"),)), tmp_path, "again")


@pytest.mark.parametrize("size", [60, len(CONTENT)])
def test_a_web_page_is_not_the_file(server, tmp_path, size):
    """As a proxy that asks for a login gives one for any address."""
    server.content, server.kind, server.ranges = b"<html>".ljust(size), "text/html; charset=utf-8", False
    with pytest.raises(OSError, match="the answer is a web page"):
        fetch(Remote("folder/file.bin", len(CONTENT), None, (server.url(),)), tmp_path, "again")
    assert files(tmp_path) == []


@pytest.mark.parametrize("ranges", [True, False])
def test_of_an_answer_of_another_length_nothing_is_kept(server, tmp_path, ranges):
    server.content, server.ranges = b"502 upstream is busy", ranges
    unpublished = Remote("folder/file.bin", len(CONTENT), None, (server.url(),))
    with pytest.raises(OSError, match="offers 20 bytes, not 1,000,000"):
        fetch(unpublished, tmp_path, "again")
    assert files(tmp_path) == []
    server.content, server.ranges = CONTENT, True
    assert fetch(unpublished, tmp_path, "again").read_bytes() == CONTENT


def test_what_begins_otherwise_is_another_file(server, tmp_path):
    with pytest.raises(OSError, match="another file"):
        fetch(Remote("file.csv", len(CONTENT), None, (server.url(),), (b"ImageID,",)), tmp_path, "again")
    assert files(tmp_path) == []
    fetch(Remote("file.csv", len(CONTENT), None, (server.url(),), (b"ImageID,", CONTENT[:3])), tmp_path, "again")


def test_md5(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert md5(tmp_path / "file") == "900150983cd24fb0d6963f7d28e17f72"  # RFC 1321, appendix A.5


def member(name: str, **attributes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


def archive(path, *members: tarfile.TarInfo):
    with tarfile.open(path, "w:gz") as tar:
        for info in members:
            content = info.name.encode()
            if info.isreg():
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


def test_extracts_files_and_replaces_those_of_their_names(tmp_path):
    root = tmp_path / "root"
    (root / "data").mkdir(parents=True)
    (root / "data" / "a").write_bytes(b"cut")
    (root / "data" / "mine").write_bytes(b"mine")
    extract(
        archive(tmp_path / "x.tar.gz", member("data", type=tarfile.DIRTYPE), member("data/a"), member("./data/sub/b")),
        root,
    )
    assert (root / "data" / "a").read_bytes() == b"data/a"
    assert (root / "data" / "sub" / "b").read_bytes() == b"./data/sub/b"
    assert files(root) == ["a", "b", "mine"]
    assert [path.name for path in root.iterdir()] == ["data"]  # nothing temporary stays


@pytest.mark.parametrize(
    "evil",
    [
        member("../outside"),
        member("data/../../outside"),
        member("/outside"),
        member("data/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("data/link", type=tarfile.LNKTYPE, linkname="../outside"),
        member("data/device", type=tarfile.CHRTYPE),
        member("data/pipe", type=tarfile.FIFOTYPE),
    ],
    ids=lambda info: f"{info.type!r} {info.name}",
)
def test_refuses_whatever_is_not_a_plain_file_below_the_root(tmp_path, evil):
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(ValueError, match=r"x.tar.gz holds '.*', which is not a plain file below its root"):
        extract(archive(tmp_path / "x.tar.gz", member("data/good"), evil), root)
    assert list(root.iterdir()) == []
    assert files(tmp_path) == ["x.tar.gz"]


def zipped(path, *members: tuple[str, int], compression: int = zipfile.ZIP_DEFLATED):
    """Members by name and Unix mode, which is 0 in archives from elsewhere."""
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = compression
            file.writestr(info, b"" if info.is_dir() else name.encode())
    return path


def test_extracts_zip_archives(tmp_path):
    root = tmp_path / "root"
    (root / "data").mkdir(parents=True)
    (root / "data" / "a").write_bytes(b"cut")
    extract(
        zipped(tmp_path / "x.zip", ("data/", stat.S_IFDIR), ("data/a", stat.S_IFREG | 0o644), ("./data/sub/b", 0)), root
    )
    assert (root / "data" / "a").read_bytes() == b"data/a"
    assert (root / "data" / "sub" / "b").read_bytes() == b"./data/sub/b"
    assert files(root) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("../outside", 0),
        ("data/../../outside", 0),
        ("/outside", 0),
        ("data/link", stat.S_IFLNK),
        ("data/pipe", stat.S_IFIFO),
        ("data/device", stat.S_IFCHR),
    ],
)
def test_refuses_such_members_of_zip_archives_too(tmp_path, name, mode):
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(ValueError, match=r"x.zip holds '.*', which is not a plain file below its root"):
        extract(zipped(tmp_path / "x.zip", ("data/good", 0), (name, mode)), root)
    assert list(root.iterdir()) == []
    assert files(tmp_path) == ["x.zip"]


def test_refuses_archives_that_unpack_to_hundreds_of_times_their_size(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(10_000_000))
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        info = member("zeros")
        info.size = 10_000_000
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    root = tmp_path / "root"
    root.mkdir()
    for name in ("x.zip", "x.tar.gz"):
        with pytest.raises(ValueError, match=rf"{name} would unpack to more than 100 times its size"):
            extract(tmp_path / name, root)
    assert list(root.iterdir()) == []


def test_refuses_tar_headers_of_any_length(tmp_path):
    long = member("name", type=tarfile.GNUTYPE_LONGNAME)
    long.size = 20_000_000
    with gzip.open(tmp_path / "x.tar.gz", "wb") as file:
        file.write(long.tobuf() + bytes(long.size))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"x.tar.gz holds a header of 20,\d+,\d+ bytes"):
        extract(tmp_path / "x.tar.gz", tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("damage", ["cut", "flipped", "encrypted", "unknown method", "no zip"])
def test_a_damaged_zip_archive_is_named_and_leaves_nothing(tmp_path, damage):
    root = tmp_path / "root"
    root.mkdir()
    path = zipped(tmp_path / "x.zip", *((f"data/{i}", 0) for i in range(30)), compression=zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    if damage == "cut":
        del content[-40:]
    elif damage == "flipped":
        content[content.index(b"data/0data/0") + 8] ^= 1
    elif damage == "encrypted":
        content[directory + 8] |= 1
    elif damage == "unknown method":
        content[directory + 10] = 97
    else:
        content[:] = b"<html>not found</html>"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x.zip (is not a whole archive|holds 'data/0', which is not a plain file)"):
        extract(path, root)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 20, 150])
def test_a_cut_archive_is_named_and_leaves_nothing(tmp_path, keep):
    root = tmp_path / "root"
    root.mkdir()
    path = archive(tmp_path / "x.tar.gz", *(member(f"data/{i}") for i in range(30)))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"x.tar.gz is not a whole archive"):
        extract(path, root)
    assert list(root.iterdir()) == []
