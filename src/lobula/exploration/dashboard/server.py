"""A small server for the live page: one thread, this machine only, read-only but for an inbox."""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from lobula.errors import EngineError, LobulaError
from lobula.exploration.dashboard.page import live_page

logger = logging.getLogger(__name__)

LOCAL = ("127.0.0.1", "localhost", "::1")
KINDS = ("note", "stop")
MOST_BYTES = 16_384
FRESH_S = 1.0

Data = Callable[[], Mapping[str, Any]]
Post = Callable[[str, str], None]


class Dashboard:
    """Serves the page of a study from a thread until it is closed. A context manager.

    GET / is the page, GET /data.json what it shows (with an ETag), POST /inbox takes {"kind": "note" or "stop", "text":
    ...}. Requests that name another host, or come from another page, are refused, so that no web page that is open in
    the same browser can read a study or steer it.

    Args:
        data: gives what `page_data` gives; called from the server's threads, one at a time and at most once a second.
        post: takes a message's kind and text; None: read-only.
        title: of the window.
        host: address to listen on; other machines can reach it only if this is changed.
        port: 0: any free one.

    Raises:
        EngineError: if the address is in use or not ours.
    """

    def __init__(
        self, data: Data, post: Post | None = None, title: str = "study", host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._data, self._post = data, post
        self._page = live_page(title, post is not None).encode()
        self._lock = threading.Lock()
        self._fresh: tuple[float, bytes, str] | None = None
        handler = type("Handler", (_Handler,), {"dashboard": self})
        try:
            self._server = ThreadingHTTPServer((host, port), handler)
        except OSError as error:
            raise EngineError(f"{host}:{port}: cannot listen there ({error.strerror}); choose another port") from error
        self._server.daemon_threads = True
        self._host, self.port = host, int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="dashboard", daemon=True)

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{self._host}:{self.port}/"

    def start(self) -> Self:
        """Begin to serve."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop serving and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def page(self) -> bytes:
        """The page."""
        return self._page

    def news(self) -> tuple[bytes, str]:
        """The data as JSON, and their tag."""
        with self._lock:
            if self._fresh is None or time.monotonic() - self._fresh[0] > FRESH_S:
                body = json.dumps(self._data(), allow_nan=False, separators=(",", ":")).encode()
                self._fresh = (time.monotonic(), body, f'"{hashlib.blake2b(body, digest_size=8).hexdigest()}"')
            return self._fresh[1:]

    def take(self, kind: str, text: str) -> bool:
        """Hand a message on; False where nobody takes any."""
        if self._post is None:
            return False
        with self._lock:
            self._post(kind, text)
            self._fresh = None
        return True

    def knows(self, host: str | None, origin: str | None) -> bool:
        """Whether a request names this server, and comes from its own page or from no page."""
        own = {f"{name}:{self.port}" for name in (*LOCAL, "[::1]", self._host)}
        return host is not None and (host in own or self._host not in LOCAL) and origin in (None, f"http://{host}")


class _Handler(BaseHTTPRequestHandler):
    dashboard: Dashboard
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if not self.dashboard.knows(self.headers.get("Host"), self.headers.get("Origin")):
            self._refuse(403, "another host or page asks; open the address that the command printed")
        elif path == "/":
            self._answer(200, self.dashboard.page, "text/html; charset=utf-8")
        elif path == "/data.json":
            self._news()
        else:
            self._refuse(404, f"{path}: no such page")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MOST_BYTES:
            self.close_connection = True  # what was not read would be taken for the next request
            return self._refuse(413, f"a message has at most {MOST_BYTES} bytes")
        body = self.rfile.read(int(length))
        if not self.dashboard.knows(self.headers.get("Host"), self.headers.get("Origin")):
            return self._refuse(403, "another host or page asks")
        if self.path != "/inbox" or self.headers.get_content_type() != "application/json":
            return self._refuse(404, "expected JSON to /inbox")
        try:
            message = json.loads(body)
        except ValueError:
            message = None
        kind, text = (message.get("kind"), message.get("text")) if isinstance(message, dict) else (None, None)
        if kind not in KINDS or not isinstance(text, str) or (kind == "note" and not text.strip()):
            return self._refuse(400, 'expected {"kind": "note" or "stop", "text": "..."}')
        return self._take(kind, text)

    def _take(self, kind: str, text: str) -> None:
        try:
            is_taken = self.dashboard.take(kind, text)
        except (LobulaError, OSError) as error:
            return self._refuse(503, str(error))
        if not is_taken:
            return self._refuse(405, "this page is read-only")
        return self._answer(200, b'{"ok":true}', "application/json")

    def _news(self) -> None:
        try:
            body, tag = self.dashboard.news()
        except (LobulaError, OSError) as error:
            return self._refuse(503, str(error))
        if self.headers.get("If-None-Match") == tag:
            return self._answer(304, b"", "application/json", tag)
        return self._answer(200, body, "application/json", tag)

    def _refuse(self, status: int, why: str) -> None:
        self._answer(status, json.dumps({"error": why}).encode(), "application/json")

    def _answer(self, status: int, body: bytes, kind: str, tag: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        if tag is not None:
            self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class names it)
        logger.debug("dashboard: %s", format % args)
