"""What a run leaves on disk: ``events.json``, label images, masks and pictures to look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cs3_ros.collision import NS_PER_S, Collision
from cs3_ros.files.images import save_image
from cs3_ros.files.jsonfile import read_json, write_json

FOLDERS = ('labels', 'masks', 'overlays')


class ResultWriter:
    """Writes the events of one run into a folder.

    The folder gets ``events.json`` (a list, one entry per event), ``labels/ID.png`` (what
    ``collision_masks`` carries: 0 background, 1 and 2 the objects), ``masks/ID_K.png`` (0 or 255)
    and ``overlays/ID.jpg``. Paths in the JSON are relative to the folder. Use it as a context
    manager: an interrupted run leaves the events it has found.

    Args:
        folder: made when it does not exist; what an earlier run wrote, as its ``events.json``
            tells, is removed, and nothing else.
        origin_ns: time stamp of media time 0.

    Attributes:
        path: of ``events.json``.
        entries: what it will hold.
        stills: stamp of the event frame -> its overlay picture.

    Raises:
        ValueError: ``folder`` is a file.
    """

    def __init__(self, folder: Path, origin_ns: int) -> None:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f'output {str(folder)!r} is a file: expected a folder')
        self.folder = folder
        self.path = folder / 'events.json'
        self.entries: list[dict[str, Any]] = []
        self.stills: dict[int, Path] = {}
        self._origin_ns = origin_ns
        folder.mkdir(parents=True, exist_ok=True)
        for path in _written_before(self.path):
            path.unlink(missing_ok=True)
        self._write()
        for name in FOLDERS:
            (folder / name).mkdir(exist_ok=True)

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._write()

    def add(self, collision: Collision, frame_index: int) -> dict[str, Any]:
        """Write one event; an event without objects has no label image.

        Args:
            collision: the answer.
            frame_index: number of its frame in the source, counted from 0.
        """
        from cs3_ros.drawing.overlay import overlay  # and with it OpenCV, at the first event

        label_image = None
        if collision.objects:
            label_image = f'labels/{collision.id}.png'
            save_image(self.folder / label_image, collision.label_image())
        objects = []
        for number, candidate in enumerate(collision.objects, 1):
            mask = f'masks/{collision.id}_{number}.png'
            save_image(self.folder / mask, candidate.mask * np.uint8(255))
            objects.append(
                dict(
                    label=candidate.label,
                    score=round(candidate.score, 6),
                    box=list(candidate.box),
                    mask=mask,
                )
            )
        contact = collision.verdict.contact_px
        picture = f'overlays/{collision.id}.jpg'
        drawn = overlay(collision.frame.image, collision, self._origin_ns)
        save_image(self.folder / picture, drawn)
        self.stills[collision.frame.stamp_ns] = self.folder / picture
        entry = dict(
            id=collision.id,
            onset_s=(collision.onset.stamp_ns - self._origin_ns) / NS_PER_S,
            frame_s=(collision.frame.stamp_ns - self._origin_ns) / NS_PER_S,
            frame_index=frame_index,
            onset_stamp_ns=collision.onset.stamp_ns,
            frame_stamp_ns=collision.frame.stamp_ns,
            label_image=label_image,
            overlay=picture,
            objects=objects,
            rule=collision.verdict.rule,
            contact_px=None if contact is None else round(contact, 3),
            trace=list(collision.verdict.trace),
            bundle=collision.bundle,
            timings_ms={k: round(v, 3) for k, v in collision.timings_ms.items()},
        )
        self.entries.append(entry)
        return entry

    def _write(self) -> None:
        write_json(self.path, self.entries)


def _written_before(events: Path) -> Iterator[Path]:
    """The files that an earlier ``events.json`` names, and its overlay video."""
    try:
        entries = read_json(events, f'{events}')
        names = [entry[key] for entry in entries for key in ('label_image', 'overlay')]
        names += [found['mask'] for entry in entries for found in entry['objects']]
    except (ValueError, TypeError, KeyError):
        return  # there is none, or it is somebody else's
    folder = events.parent.resolve()
    for name in ('overlay.mp4', *filter(None, names)):
        path = (folder / str(name)).resolve()
        if path.is_relative_to(folder):
            yield path
