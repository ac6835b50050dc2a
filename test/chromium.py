"""A headless Chromium, driven by its DevTools protocol over two pipes: no driver, no port."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

PROGRAMS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
OPTIONS = (
    *('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'),
    *('--disable-background-networking', '--disable-component-update', '--disable-sync'),
    *('--disable-dev-shm-usage', '--mute-audio', '--remote-debugging-pipe'),
    *('--autoplay-policy=no-user-gesture-required', '--force-device-scale-factor=1'),
)
SHIFT = 8


def program() -> str | None:
    """Where a Chromium is, if there is one."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Chromium:
    """One page of a browser of its own; a context manager.

    Attributes:
        complaints: what went wrong in the page: exceptions, errors of its log, broken policies.
    """

    def __init__(self, profile: Path, size: tuple[int, int] = (1000, 800)) -> None:
        self.complaints: list[str] = []
        self._number, self._buffer = 0, b''
        (self._read, its_write), (its_read, self._write) = os.pipe(), os.pipe()
        # above 9, so that neither is closed when it becomes descriptor 3 or 4
        high = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (its_read, its_write)]
        command = [program() or 'chromium', *OPTIONS, f'--user-data-dir={profile}', 'about:blank']
        redirected = f'exec "$@" 3<&{high[0]} 4>&{high[1]}'
        self._process = subprocess.Popen(
            ['bash', '-c', redirected, 'bash', *command],
            pass_fds=high, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for each in (its_read, its_write, *high):
            os.close(each)
        self._session = ''
        try:
            self._begin(size)
        except BaseException:
            self.__exit__()
            raise

    def _begin(self, size: tuple[int, int]) -> None:
        targets = self.call('Target.getTargets')['targetInfos']
        (page,) = [target['targetId'] for target in targets if target['type'] == 'page']
        attached = self.call('Target.attachToTarget', targetId=page, flatten=True)
        self._session = attached['sessionId']
        for domain in ('Page', 'Runtime', 'Log'):
            self.call(f'{domain}.enable')
        width, height = size
        self.call(
            'Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1,
            mobile=False,
        )  # fmt: skip

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        for descriptor in (self._read, self._write):
            os.close(descriptor)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol."""
        self._number += 1
        message = {'id': self._number, 'method': method, 'params': parameters}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._write, json.dumps(message).encode() + b'\0')
        while (answer := self._next())['id'] != self._number:
            pass
        assert 'error' not in answer, (method, answer)
        return answer['result']

    def _next(self) -> dict[str, Any]:
        """The next answer; events on the way are looked at."""
        while True:
            while b'\0' not in self._buffer:
                assert select.select([self._read], [], [], 60)[0], 'Chromium does not answer'
                data = os.read(self._read, 1 << 16)
                assert data, 'Chromium ended'
                self._buffer += data
            text, _, self._buffer = self._buffer.partition(b'\0')
            message = json.loads(text)
            if 'id' in message:
                return message
            if message['method'] == 'Runtime.exceptionThrown':
                self.complaints.append(json.dumps(message['params']['exceptionDetails']))
            elif message['method'] == 'Log.entryAdded':
                entry = message['params']['entry']
                if entry['level'] == 'error':
                    self.complaints.append(f'{entry["text"]} {entry.get("url", "")}')

    # ---- what a person does and sees ------------------------------------------------------------

    def open(self, url: str) -> None:
        self.call('Page.navigate', url=url)

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression, of a promise when it is kept."""
        result = self.call(
            'Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True
        )
        assert 'exceptionDetails' not in result, result
        return result['result'].get('value')

    def text(self, selector: str) -> str:
        return self.value(f'document.querySelector({selector!r})?.textContent ?? ""')

    def wait(self, selector: str, wanted: str, seconds: float = 30) -> str:
        """The text of an element once it holds what is wanted."""
        end = time.monotonic() + seconds
        while wanted not in (text := self.text(selector)):
            assert time.monotonic() < end, f'{selector}: {text!r}, expected {wanted!r} in it'
            time.sleep(0.02)
        return text

    def press(self, *keys: str, shift: bool = False) -> None:
        for key in keys:
            more = {'text': key} if len(key) == 1 else {}
            for kind in ('keyDown', 'keyUp'):
                self.call(
                    'Input.dispatchKeyEvent', type=kind, key=key, modifiers=SHIFT if shift else 0,
                    **(more if kind == 'keyDown' else {}),
                )  # fmt: skip

    def drag(self, *points: tuple[float, float]) -> None:
        """The left button goes down at the first point and up at the last."""
        (x, y), (last_x, last_y) = points[0], points[-1]
        self._mouse('mouseMoved', x, y)
        self._mouse('mousePressed', x, y, button='left', buttons=1, clickCount=1)
        for x, y in points[1:]:
            self._mouse('mouseMoved', x, y, button='left', buttons=1)
        self._mouse('mouseReleased', last_x, last_y, button='left', clickCount=1)

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, **more)

    def picture(self, **options: Any) -> bytes:
        """What is seen."""
        return base64.b64decode(self.call('Page.captureScreenshot', **options)['data'])
