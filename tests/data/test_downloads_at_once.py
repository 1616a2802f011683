"""Several processes that download one file, as the jobs of an array do that share a root."""

import errno
import fcntl
import hashlib
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from visionlab.data.download import Remote, fetch

CONTENT = np.random.default_rng(0).bytes(1_000_000)

FETCH = """
import sys
from pathlib import Path
from visionlab.data.download import Remote, fetch
fetch(Remote("file.bin", 1_000_000, sys.argv[2] or None, (sys.argv[1],)), Path(), "again")
"""


class Handler(BaseHTTPRequestHandler):
    """Sends half of what is asked for, and the rest when the server's gate is open."""

    def do_GET(self):
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.server.asked.append(start)
        body = CONTENT[start:]
        self.send_response(206)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        half = (len(body) + 1) // 2
        self.wfile.write(body[:half])
        self.server.gate.wait(60)
        try:
            self.wfile.write(body[half:])
        except OSError:  # the process was killed
            self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.gate = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.gate.set()
    server.shutdown()
    thread.join()
    server.server_close()


def start(server, md5):
    command = [sys.executable, "-c", FETCH, f"http://127.0.0.1:{server.server_port}/file", md5]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("md5", ["", hashlib.md5(CONTENT).hexdigest()])
@pytest.mark.parametrize("killed", [False, True])
def test_one_downloads_and_the_other_waits_for_it(server, tmp_path, md5, killed):
    first = start(server, md5)
    while not (tmp_path / "file.bin.part").exists() or not (tmp_path / "file.bin.part").stat().st_size:
        assert first.poll() is None
    second = start(server, md5)
    assert "another process is downloading file.bin: waiting for it" in second.stderr.readline()
    if killed:
        first.kill()
        first.wait(60)
    server.gate.set()
    assert second.wait(60) == 0
    assert first.wait(60) == (-9 if killed else 0)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("file")] == ["file.bin"]
    assert server.asked[0] == 0
    assert len(server.asked) == (2 if killed else 1)
    assert not killed or server.asked[1] > 0  # it goes on where the other was killed
    for process in (first, second):
        process.stderr.close()


def test_a_file_system_without_locks_is_refused_in_a_line(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match=r"file\.bin\.lock cannot be locked \(No locks available\)") as raised:
        fetch(Remote("file.bin", 1, None, ("http://127.0.0.1:9/",)), tmp_path, "again")
    assert "\n" not in str(raised.value)
