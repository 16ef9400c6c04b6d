"""Liveness, readiness and metrics over HTTP.

``/live`` depends on the progress of the main loop only, never on Kafka or Redis: restarting a worker
does not repair those. ``/ready`` says whether model and index are loaded. ``/metrics`` is Prometheus'.
"""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from schemas.settings import HealthSettings
from workers import metrics
from workers.memory import memory_limit_bytes

log = structlog.get_logger()


class Health:
    """What the process knows of itself, and the server that tells it."""

    def __init__(self, settings: HealthSettings) -> None:
        self._stalled_after = settings.stalled_after_s
        self._beat = time.monotonic()
        self.not_ready: str | None = "starting"
        metrics.READY.set_function(lambda: self.not_ready is None)
        metrics.MEMORY_LIMIT.set(memory_limit_bytes())
        self._server = ThreadingHTTPServer((settings.host, settings.port), self._handler())
        self._server.daemon_threads = True

    def beat(self) -> None:
        """Note that the main loop has come round."""
        self._beat = time.monotonic()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Health:
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        log.info("health_listening", port=self.port)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str) -> tuple[int, str, bytes]:
        if path == "/live":
            silent = time.monotonic() - self._beat
            if silent > self._stalled_after:
                return 503, "text/plain", f"no progress for {silent:.0f} s\n".encode()
            return 200, "text/plain", b"live\n"
        if path == "/ready":
            reason = self.not_ready
            return (503, "text/plain", f"{reason}\n".encode()) if reason else (200, "text/plain", b"ready\n")
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(metrics.REGISTRY)
        return 404, "text/plain", b"/live, /ready or /metrics\n"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        health = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, content_type, body = health._answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Probes come every few seconds: not a line each."""

        return Handler
