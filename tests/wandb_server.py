"""As much of a W&B server as its client needs, on this machine. It remembers runs, and can fail in three ways."""

import gzip
import http.server
import json
import sys
import threading


class Recorded:
    """What the server was told of one run."""

    def __init__(self):
        self.config, self.summary, self.rows, self.files = {}, {}, [], {}
        self.finished, self.starts = None, 0


class WandbServer(http.server.ThreadingHTTPServer):
    """A context manager that serves while it is open.

    ``mode`` may be changed at any time: ``ok``; ``fails``, which answers everything with status 500; ``refuses``, with
    403; ``hangs``, which answers nothing. A mode given as ``then`` is taken after the first start of a run.
    """

    daemon_threads = True
    block_on_close = False
    KEY = "0123456789" * 4

    def __init__(self, mode="ok", then=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.mode, self.then, self.runs, self.requests = mode, then, {}, 0
        self.closing = threading.Event()

    @property
    def environment(self):
        return {"WANDB_BASE_URL": f"http://127.0.0.1:{self.server_port}", "WANDB_API_KEY": self.KEY}

    def handle_error(self, request, client_address):
        """Clients hang up as they like."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *args):
        self.closing.set()
        self.shutdown()
        super().__exit__(*args)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.answer(lambda: {})

    def do_PUT(self):
        content = self.body()
        run, _, name = self.path.removeprefix("/upload/").partition("/")
        self.answer(lambda: self.server.runs[run].files.update({name: content}) or {})

    def do_POST(self):
        content = self.body()
        body = json.loads(content) if self.path.endswith(("/graphql", "/file_stream")) else {}
        if self.path.endswith("/graphql"):
            self.answer(lambda: {"data": self.graphql(body.get("operationName"), body.get("variables") or {})})
        elif self.path.endswith("/file_stream"):
            self.answer(lambda: self.stream(body))
        else:
            self.answer(lambda: {})

    def stream(self, body):
        run = self.server.runs[self.path.split("/")[-2]]
        for name, part in body.get("files", {}).items():
            lines = [json.loads(line) for line in part["content"]]
            if name == "wandb-history.jsonl":
                run.rows[part["offset"] :] = lines  # a piece that is sent again takes its own place
            elif name == "wandb-summary.json":
                run.summary.update(lines[-1])
        if body.get("complete"):
            run.finished = body["exitcode"]
        return {"exitcode": None, "limits": {}}

    def graphql(self, operation, given):
        project = {"id": "p", "name": given.get("project") or "visionlab", "entity": {"id": "e", "name": "entity"}}
        match operation:
            case "Viewer":
                return {
                    "viewer": {"id": "u", "entity": "entity", "username": "u", "flags": "{}", "teams": {"edges": []}}
                }
            case "RunResumeStatus":
                run = self.server.runs.get(given["name"])
                return {"model": {**project, "bucket": run and described(given["name"], run)}}
            case "UpsertBucket":
                name = given["name"]
                new = name not in self.server.runs
                run = self.server.runs.setdefault(name, Recorded())
                run.starts += 1
                run.finished = None
                if given.get("config"):
                    run.config.update(json.loads(given["config"]))
                return {"upsertBucket": {"bucket": {**described(name, run), "project": project}, "inserted": new}}
            case "CreateRunFiles":
                address = f"http://127.0.0.1:{self.server.server_port}/upload/{given['run']}/"
                files = [{"name": name, "uploadUrl": address + name} for name in given["files"]]
                return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        return {}

    def body(self):
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

    def answer(self, content):
        self.server.requests += 1
        if self.server.mode == "hangs":
            self.server.closing.wait(120)
            return
        status = {"ok": 200, "fails": 500, "refuses": 403}[self.server.mode]
        encoded = json.dumps(content() if status == 200 else {"error": "out of order"}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)
        if self.server.then and self.server.runs:
            self.server.mode, self.server.then = self.server.then, None


def described(name, run):
    return {
        "id": "b",
        "name": name,
        "displayName": name,
        "config": json.dumps(run.config),
        "summaryMetrics": json.dumps(run.summary),
        "historyLineCount": len(run.rows),
        "historyTail": json.dumps([json.dumps(row) for row in run.rows[-1:]]),
        "logLineCount": 0,
        "eventsLineCount": 0,
        "eventsTail": "[]",
        "tags": [],
        "notes": "",
        "wandbConfig": json.dumps({"t": 1}),
    }
