"""The page on which people annotate: files, data and pictures over HTTP, for this machine alone.

It listens on 127.0.0.1. Every request has to name this host (a page of a stranger whose name leads
here does not) and to carry the token, and none from another origin is answered.
"""

from __future__ import annotations

import base64
import hmac
import socket
from importlib import resources
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cs3_ros.collision import Mask
from cs3_ros.drawing.overlay import OBJECT_COLOURS
from cs3_ros.files.images import as_jpeg
from cs3_ros.files.jsonfile import load_json
from cs3_training.curate.drawing import as_data, read_drawing
from cs3_training.curate.work import Work, as_png
from cs3_training.data.shards import as_wav

HOST = '127.0.0.1'
TOKEN_HEADER = 'x-cs3-token'
MOST_BYTES = 1 << 24
"""Longest body of a request."""
PEAKS = 600
"""Amplitudes that the page draws of a sound."""
FILES = {
    'page.html': 'text/html', 'page.js': 'text/javascript', 'page.css': 'text/css'
}  # fmt: skip
SECURITY = {
    'content-security-policy': "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src blob:; media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
}
"""Headers of every answer."""


def listen(port: int) -> socket.socket:
    """A socket of this machine alone.

    Args:
        port: 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise OSError(f'--port {port}: {error.strerror}; another one, or 0 for any') from error


def serve(work: Work, title: str, token: str, opened: socket.socket) -> None:
    """Answer until SIGINT or SIGTERM.

    Args:
        work: what is annotated.
        title: which masker makes the masks, for the page.
        token: that every request has to carry.
        opened: of ``listen``.

    Raises:
        KeyboardInterrupt: as the signal raises it.
    """
    app = make_app(work, title, token, opened.getsockname()[1])
    config = uvicorn.Config(app, log_level='warning', lifespan='off', server_header=False)
    uvicorn.Server(config).run(sockets=[opened])


def make_app(work: Work, title: str, token: str, port: int) -> ASGIApp:
    """The application; see ``serve``."""
    handlers = _Handlers(work, title, token)
    app = Starlette(
        routes=[
            Route('/', handlers.page),
            Route('/{name}', handlers.file),
            Route('/api/items', handlers.items),
            Route('/api/items/{index:int}', handlers.item),
            Route('/api/items/{index:int}', handlers.save, methods=['PUT']),
            Route('/api/items/{index:int}/frames/{number:int}', handlers.frame),
            Route('/api/items/{index:int}/sound', handlers.sound),
        ],
        exception_handlers={ValueError: _refused, OSError: _refused},
    )
    return _Guard(app, token, port)


class _Guard:
    """Answers nobody but the page of this run."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token.encode()
        self._hosts = {f'{HOST}:{port}', f'localhost:{port}'}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] != 'http':  # a WebSocket
            return

        async def guarded(message: Message) -> None:
            if message['type'] == 'http.response.start':
                more = [(name.encode(), text.encode()) for name, text in SECURITY.items()]
                message = {**message, 'headers': [*message['headers'], *more]}
            await send(message)

        problem = self._problem(scope)
        app: ASGIApp = PlainTextResponse(problem, 403) if problem else self._app
        await app(scope, receive, guarded)

    def _problem(self, scope: Scope) -> str:
        headers, query = Headers(scope=scope), QueryParams(scope['query_string'])
        if headers.getlist('host') not in [[host] for host in self._hosts]:
            return 'another host'
        origin = headers.get('origin')
        if origin is not None and origin not in {f'http://{host}' for host in self._hosts}:
            return 'another origin'
        api = scope['path'].startswith('/api/')
        given = headers.get(TOKEN_HEADER, '') if api else query.get('token', '')
        if not hmac.compare_digest(given.encode(), self._token):
            return 'no token: open the address that cs3-train annotate printed'
        return ''


class _Handlers:
    """What the page asks for; each in a thread of its own, but for ``save``."""

    def __init__(self, work: Work, title: str, token: str) -> None:
        self._work, self._title, self._token = work, title, token

    def page(self, request: Request) -> Response:
        text = _packaged('page.html').replace('@TOKEN@', self._token)
        return Response(text, media_type=FILES['page.html'])

    def file(self, request: Request) -> Response:
        name = request.path_params['name']
        if name not in FILES:
            raise HTTPException(404)
        return Response(_packaged(name), media_type=FILES[name])

    def items(self, request: Request) -> Response:
        work = self._work
        facts = [
            {'id': segment.id, 'verdict': verdict, 'there': work.has_video(index)}
            for index, (segment, verdict) in enumerate(
                zip(work.segments, work.verdicts, strict=True)
            )
        ]
        return JSONResponse({'masker': self._title, 'items': facts})

    def item(self, request: Request) -> Response:
        index = self._index(request)
        segment, clip = self._work.segments[index], self._work.clip(index)
        drawing = self._work.drawing(index)
        height, width = clip.frames[0].image.shape[:2]
        facts = {
            'id': segment.id,
            'class': segment.label,
            'score': segment.score,
            'text': segment.text,
            'start_ns': segment.start_ns,
            'stop_ns': segment.stop_ns,
            'frames': [frame.stamp_ns for frame in clip.frames],
            'width': width,
            'height': height,
            'peaks': [round(float(peak), 4) for peak in clip.peaks(PEAKS)],
            'drawing': as_data(drawing),
            'masks': _shown(self._work.masks(index, drawing)),
        }
        return JSONResponse(facts)

    def frame(self, request: Request) -> Response:
        frames = self._work.clip(self._index(request)).frames
        frame = frames[_within(request.path_params['number'], len(frames))]
        return Response(as_jpeg(frame.image, 92), media_type='image/jpeg')

    def sound(self, request: Request) -> Response:
        clip = self._work.clip(self._index(request))
        return Response(as_wav(clip.sound.samples), media_type='audio/wav')

    async def save(self, request: Request) -> Response:
        index, body = self._index(request), bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise ValueError(f'a body of more than {MOST_BYTES} bytes')
        except ClientDisconnect as error:
            raise ValueError('the request ended early') from error
        drawing = read_drawing(load_json(bytes(body).decode('utf-8')))
        masks = await run_in_threadpool(self._work.save, index, drawing)
        return JSONResponse({'masks': await run_in_threadpool(_shown, masks)})

    def _index(self, request: Request) -> int:
        return _within(request.path_params['index'], len(self._work.segments))


def _within(index: int, count: int) -> int:
    if not 0 <= index < count:
        raise HTTPException(404)
    return index


def _refused(request: Request, error: Exception) -> Response:
    return JSONResponse({'error': str(error)}, 400)


def _packaged(name: str) -> str:
    return (resources.files('cs3_training.curate') / name).read_text('utf-8')


def _shown(masks: list[Mask]) -> list[dict[str, Any]]:
    """Area of each mask, and a PNG that the page lays over the picture."""
    import cv2

    shown = []
    for mask, (red, green, blue) in zip(masks, OBJECT_COLOURS, strict=False):
        layer = np.zeros((*mask.shape, 4), np.uint8)
        layer[..., :3] = (blue, green, red)
        inside = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=(0,)) > 0
        layer[..., 3] = np.where(inside, 110, np.where(mask, 255, 0))
        png = base64.b64encode(as_png(layer)).decode()
        shown.append({'pixels': int(mask.sum()), 'png': png})
    return shown
