"""A stand-in for providers of models: it answers as OpenAI and Anthropic do, streams, and fails when it is told to."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


class ModelProvider:
    """`base` is what `api_base` is set to. A model called `fails-500` is answered 500; `asked` holds (path, headers, body)."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                provider.asked.append((self.path, {key.lower(): value for key, value in self.headers.items()}, body))
                if body["model"].startswith("fails-"):
                    key = self.headers.get("Authorization", "")
                    self._json(int(body["model"][6:]), {"error": {"message": f"no, {key}"}})
                elif body["model"] == "hangs-up":
                    self.close_connection = True
                elif self.path.endswith("/embeddings"):
                    data = [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}]
                    self._json(200, {"object": "list", "data": data, "model": body["model"], "usage": USAGE})
                elif self.path.endswith("/messages"):
                    self._events(_message_events()) if body.get("stream") else self._json(200, _message(body))
                elif self.path.endswith("/responses"):
                    self._json(200, {"id": "resp-1", "output": [], "usage": {"input_tokens": 4, "output_tokens": 1}})
                elif body.get("stream") and body["model"] == "ends-early":
                    self._events([f"data: {json.dumps(one)}" for one in _chunks(body)[:1]])
                elif body.get("stream"):
                    self._events([*(f"data: {json.dumps(one)}" for one in _chunks(body)), "data: [DONE]"])
                else:
                    self._json(200, _completion(body))

            def _json(self, status: int, document: Any) -> None:
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _events(self, events: list[str]) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for one in events:
                    content = f"{one}\n\n".encode()
                    self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
                    self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.base = f"{self.host}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _completion(body: dict[str, Any]) -> dict[str, Any]:
    said = f"{body['model']} says hello"
    if body["model"].startswith("judge-"):
        said = json.dumps({"result": "yes", "rationale": "it is kind"})
    message = {"role": "assistant", "content": said}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return {
        "id": "c-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": choices,
        "usage": USAGE,
    }


def _chunks(body: dict[str, Any]) -> list[dict[str, Any]]:
    head = {"id": "c-2", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    made: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]} for word in ("hel", "lo")
    ]
    made.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if (body.get("stream_options") or {}).get("include_usage"):
        made.append({**head, "choices": [], "usage": USAGE})
    return made


def _message(body: dict[str, Any]) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": "bonjour"}]
    if body.get("tools"):
        content.append({"type": "tool_use", "id": "t1", "name": body["tools"][0]["name"], "input": {"city": "Brno"}})
    return {
        "id": "msg-1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": "tool_use" if body.get("tools") else "end_turn",
        "usage": {"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 1},
    }


def _message_events() -> list[str]:
    usage = {"input_tokens": 5, "output_tokens": 1}
    events = [
        {"type": "message_start", "message": {"id": "msg-2", "model": "claude", "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "bon"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "jour"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]
    return [f"event: {one['type']}\ndata: {json.dumps(one)}" for one in events]
