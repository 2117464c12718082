"""A small server that speaks W&B's protocol, and a reader of the files that W&B writes."""

import gzip
import json
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote


@dataclass
class WandBRun:
    """What W&B knows about a run."""

    about: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


def read_file(path: Path) -> WandBRun:
    """Read a run-….wandb file: protocol buffers in LevelDB's log format, with a header of 7 bytes for each part of a record."""
    from wandb.proto.wandb_internal_pb2 import Record

    run, data, message, position = WandBRun(), path.read_bytes(), b"", 7
    while position + 7 <= len(data):
        if (left := 32_768 - position % 32_768) < 7:  # of the block; a header never crosses its end
            position += left
            continue
        _, size, kind = struct.unpack("<IHB", data[position : position + 7])
        message += data[position + 7 : position + 7 + size]
        position += 7 + size
        if kind not in (1, 4):  # the first or a middle part
            continue
        record, message = Record.FromString(message), b""
        match record.WhichOneof("record_type"):
            case "run":
                run.about = {f.name: value for f, value in record.run.ListFields() if isinstance(value, str | bool)}
                run.config = {item.key: json.loads(item.value_json) for item in record.run.config.update if item.key != "_wandb"}
            case "history":
                run.history.append({_name(item): json.loads(item.value_json) for item in record.history.item})
            case "summary":
                run.summary |= {_name(item): json.loads(item.value_json) for item in record.summary.update}
            case "exit":
                run.exit_code = record.exit.exit_code
    return run


def _name(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


@contextmanager
def serve() -> Iterator[tuple[str, dict[str, WandBRun]]]:
    """The address of the server, and the runs that it has, by their ids."""
    runs: dict[str, WandBRun] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_PUT(self) -> None:  # a file
            self._read()
            self._answer({})

        def do_POST(self) -> None:
            message = json.loads(self._read())
            if self.path == "/graphql":
                self._answer({"data": answer(message["operationName"], message.get("variables") or {})})
            else:  # /files/<entity>/<project>/<run>/file_stream
                _receive(runs[self.path.split("/")[-2]], message)
                self._answer({})

        def _read(self) -> bytes:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            return gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body

        def _answer(self, message: dict[str, Any]) -> None:
            body = json.dumps(message).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def answer(operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        if operation == "RunResumeStatus":
            return {"model": {"bucket": _state(runs[variables["name"]]) if variables["name"] in runs else None}}
        if operation == "UpsertBucket":
            run = runs.setdefault(variables["name"], WandBRun())
            run.about |= {name: value for name, value in variables.items() if value is not None}
            run.config = {name: item["value"] for name, item in json.loads(variables["config"]).items()}
            project = {"name": variables["project"], "entity": {"name": "someone"}}
            return {"upsertBucket": {"bucket": {"id": "x", "name": variables["name"], "project": project}, "inserted": True}}
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{address}/{quote(name)}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": files}}
        return {}

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            if not isinstance(sys.exception(), ConnectionError):  # W&B does not wait for the end of a connection
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield address, runs
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _state(run: WandBRun) -> dict[str, Any]:
    """What the server says about a run that is resumed."""
    return {
        "id": "x",
        "name": run.about["name"],
        "summaryMetrics": json.dumps(run.summary),
        "config": json.dumps({name: {"value": value} for name, value in run.config.items()}),
        "historyLineCount": len(run.history),
        "historyTail": json.dumps([json.dumps(line) for line in run.history[-1:]]),
        "eventsLineCount": 0,
        "eventsTail": "[]",
        "logLineCount": 0,
    }


def _receive(run: WandBRun, message: dict[str, Any]) -> None:
    files = message.get("files", {})
    if history := files.get("wandb-history.jsonl"):
        run.history[history["offset"] :] = map(json.loads, history["content"])
    if summary := files.get("wandb-summary.json"):
        run.summary = json.loads(summary["content"][-1])
    if message.get("complete"):
        run.exit_code = message["exitcode"]
