"""An application that does nothing but speak the supervisor's protocol and answer what it was asked.

    POST /_stub/plan     an EdgePlan without `listen`: written, and answered once nginx runs with it (or not)
    POST /_stub/break    an nginx.conf that cannot be read is written; answered likewise
    anything else        is echoed: pid, method, target, headers, length of the body
    internal /mirror     noted, and echoed as `copies`
    internal /auth       200 for `Bearer good-<endpoint>`, else 401; how often it was asked is echoed as `auths`

`<home>/stub.json` may say {"exit": code} (end at once, after a word on stderr) or {"jobs": [names that go on]}.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

from zaffre.edge.binary import find_nginx
from zaffre.edge.config import write_edge
from zaffre.edge.plan import EdgePlan


class Stub:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.settings = json.loads((home / "stub.json").read_text()) if (home / "stub.json").exists() else {}
        self.auths = 0
        self.copies: list[dict[str, Any]] = []
        self.applied: dict[int, asyncio.Future[str | None]] = {}
        self.number = 0
        self.done = asyncio.Event()

    async def run(self) -> None:
        handles = json.loads(os.environ["ZAFFRE_FDS"])
        control = socket.socket(fileno=handles["control"])
        self.reader, self.writer = await asyncio.open_unix_connection(sock=control)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.done.set)
        listening = asyncio.create_task(self.listen())
        for name, serve in (("app", self.serve_app), ("internal", self.serve_internal)):
            await asyncio.start_unix_server(serve, sock=socket.socket(fileno=handles[name]))
        for handle in handles.get("tcp", []):
            await asyncio.start_server(self.serve_app, sock=socket.socket(fileno=handle))
        if os.environ["ZAFFRE_EDGE"] == "1":
            stored = self.home / "plan.json"
            self.change(stored.read_bytes() if stored.exists() else b"{}")
        self.send({"type": "ready"})
        await self.done.wait()
        listening.cancel()

    def send(self, message: dict[str, Any]) -> None:
        self.writer.write(json.dumps(message).encode() + b"\n")

    async def listen(self) -> None:
        async for line in self.reader:
            message = json.loads(line)
            if message["type"] == "stop":
                self.send({"type": "stopped", "running_jobs": self.settings.get("jobs", [])})
            elif message["type"] == "edge-applied" and message["id"] in self.applied:
                self.applied.pop(message["id"]).set_result(message["error"])

    def change(self, plan: bytes) -> asyncio.Future[str | None]:
        listen = json.loads(os.environ["ZAFFRE_LISTEN"])
        whole = msgspec.convert({**json.loads(plan), "listen": listen, "objects": str(self.home / "objects")}, EdgePlan)
        write_edge(self.home / "edge", whole, find_nginx())
        (self.home / "plan.json").write_bytes(plan)
        return self.tell()

    def tell(self) -> asyncio.Future[str | None]:
        self.number += 1
        self.applied[self.number] = asyncio.get_running_loop().create_future()
        self.send({"type": "edge-changed", "id": self.number})
        return self.applied[self.number]

    async def serve_app(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, headers, body = await read_request(reader)
        if target == "/_stub/plan":
            value: Any = {"error": await self.change(body)}
        elif target == "/_stub/break":
            path = self.home / "edge" / "nginx.conf"
            path.write_text(path.read_text() + "\nthis is no nginx;\n")
            value = {"error": await self.tell()}
        else:
            value = {"pid": os.getpid(), "method": method, "target": target, "headers": headers, "length": len(body)}
            value |= {"auths": self.auths, "copies": self.copies}
        await answer(writer, 200, value)

    async def serve_internal(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, target, headers, body = await read_request(reader)
        if target == "/mirror":
            copy = {"shadow": headers["x-zf-shadow"], "target": headers["x-zf-target"], "body": body.decode()}
            self.copies.append({**copy, "authorized": "authorization" in headers})
            await answer(writer, 202, {})
            return
        self.auths += 1
        good = headers.get("authorization") == f"Bearer good-{headers.get('x-zf-endpoint')}"
        await answer(writer, 200 if good else 401, {})


async def read_request(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    return method, target, headers, await reader.readexactly(int(headers.get("content-length", "0")))


async def answer(writer: asyncio.StreamWriter, status: int, value: Any) -> None:
    body = json.dumps(value).encode()
    lines = [
        f"HTTP/1.1 {status} X",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    writer.close()


if __name__ == "__main__":
    home = Path(sys.argv[sys.argv.index("--home") + 1])
    settings = json.loads((home / "stub.json").read_text()) if (home / "stub.json").exists() else {}
    if "exit" in settings:
        print("the schema of this home is newer than this program", file=sys.stderr)
        sys.exit(settings["exit"])

    async def main() -> None:
        await Stub(home).run()

    asyncio.run(main())
