"""A small HTTP server on this machine whose answers can be made to fail."""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def torch_like(content: bytes) -> bytes:
    """What looks like a file of ``torch.save``."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, 'w') as archive:
        archive.writestr(zipfile.ZipInfo('archive/data.pkl'), b'')
        archive.writestr(zipfile.ZipInfo('archive/data/0'), content)
    return packed.getvalue()


class FileServer(ThreadingHTTPServer):
    """Serves ``files``; each request of a path uses up one of its ``mishaps`` first.

    Mishaps: ``('drop', n)`` closes after n bytes, ``('status', code)``, ``('redirect', url)``,
    ``('stall', n)`` falls silent after n bytes, ``('headers', {...})`` replaces headers.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.mishaps: dict[str, list[tuple]] = {}
        self.requests: list[tuple[str, str]] = []
        """Path and Range header of every request so far."""
        self.ranges = True
        self.etags = True
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.server_port}'

    def handle_error(self, request, client_address) -> None:
        """A client that goes away is what some tests are about."""


@contextlib.contextmanager
def serving() -> Iterator[FileServer]:
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def log_message(self, *arguments) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        server, path = self.server, self.path
        asked = self.headers.get('Range', '')
        server.requests.append((path, asked))
        mishaps = server.mishaps.get(path, [])
        kind, value = mishaps.pop(0) if mishaps else ('', None)
        content = server.files.get(path)
        if kind == 'status' or content is None:
            self.send_error(value if kind == 'status' else 404)
            return
        if kind == 'redirect':
            self.send_response(302)
            self.send_header('Location', value)
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        start = int(asked.removeprefix('bytes=').rstrip('-')) if asked and server.ranges else 0
        if self.headers.get('If-Range', etag) != etag:
            start = 0
        if start >= len(content) and start:
            self.send_error(416)
            return
        headers = {'Content-Length': str(len(content) - start)}
        if server.etags:
            headers['ETag'] = etag
        if start:
            headers['Content-Range'] = f'bytes {start}-{len(content) - 1}/{len(content)}'
        if kind == 'headers':
            headers |= value
        self.send_response(206 if start else 200)
        for name, text in headers.items():
            if text:
                self.send_header(name, text)
        self.end_headers()
        rest = content[start:]
        self.wfile.write(rest[:value] if kind in ('drop', 'stall') else rest)
        self.wfile.flush()
        if kind == 'stall':
            server.ended.wait(20)
        self.close_connection = True
