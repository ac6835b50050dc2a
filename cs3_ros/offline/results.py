"""What a run leaves on disk: ``events.json``, label images, masks and pictures to look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import NS_PER_S, Collision, Image, box_of, event_id
from cs3_ros.files.images import save_image
from cs3_ros.files.output_folder import OutputFolder
from cs3_ros.offline.bag_depth import BagDepth
from cs3_ros.space.camera import Points
from cs3_ros.space.contact import Contact
from cs3_ros.tracking import TrackedFrame

EVENTS, OVERLAY, TRACKS = 'events.json', 'overlay.mp4', 'tracks.json'
_ID = r'\d{1,20}\.\d{9}'
NAMES = (
    r'events\.json',
    r'tracks\.json',
    r'overlay\.mp4',
    rf'labels/{_ID}\.png',
    rf'masks/{_ID}_[12]\.png',
    rf'overlays/{_ID}\.jpg',
    rf'tracks/{_ID}\.png',
)
"""All that a run writes, as ``OutputFolder`` wants it."""


class ResultWriter:
    """Writes the events of one run into a folder.

    The folder gets ``events.json`` (a list, one entry per event), ``labels/ID.png`` (what
    ``collision_masks`` carries: 0 background, 1 and 2 the objects), ``masks/ID_K.png`` (0 or 255)
    and ``overlays/ID.jpg``; where masks are carried on, ``tracks/STAMP.png``, a label image named
    by the stamp of its frame, and at the end ``tracks.json``. Paths in the JSON are relative to the
    folder. An event's pictures are there before its entry is, and ``events.json`` is written after
    each event, so whenever a run ends, what it leaves is true.

    Args:
        output: the folder, entered, for ``NAMES``.
        origin_ns: time stamp of media time 0.
        depth: where events are looked up in space, if anywhere.

    Attributes:
        path: of ``events.json``.
        entries: what it holds.
        stills: stamp of the event frame -> its overlay picture.
        tracks: stamp of a frame to which masks were carried on -> its label image.

    Raises:
        OSError: a file cannot be written; so do the methods.
    """

    def __init__(self, output: OutputFolder, origin_ns: int, depth: BagDepth | None = None) -> None:
        self.path = output.path / EVENTS
        self.entries: list[dict[str, Any]] = []
        self.stills: dict[int, Path] = {}
        self.tracks: dict[int, Path] = {}
        self._tracked: dict[int, dict[str, Any]] = {}
        self._output, self._origin_ns, self._depth = output, origin_ns, depth
        self._texts: list[str] = []  # of the entries, so that none is turned into text twice
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
            self._save(label_image, collision.label_image())
        objects = []
        for number, candidate in enumerate(collision.objects, 1):
            mask = f'masks/{collision.id}_{number}.png'
            self._save(mask, candidate.mask * np.uint8(255))
            objects.append(
                dict(
                    label=candidate.label,
                    score=round(candidate.score, 6),
                    box=list(candidate.box),
                    mask=mask,
                    sounding=None if candidate.sounding is None else round(candidate.sounding, 6),
                )
            )
        contact, probability = collision.verdict.contact_px, collision.onset.probability
        picture = f'overlays/{collision.id}.jpg'
        drawn = overlay(collision.frame.image, collision, self._origin_ns)
        space = self._in_space(collision, drawn, objects)
        self._save(picture, drawn)
        self.stills[collision.frame.stamp_ns] = self._output.path / picture
        entry = dict(
            id=collision.id,
            onset_s=(collision.onset.stamp_ns - self._origin_ns) / NS_PER_S,
            frame_s=(collision.frame.stamp_ns - self._origin_ns) / NS_PER_S,
            frame_index=frame_index,
            onset_stamp_ns=collision.onset.stamp_ns,
            onset_probability=None if probability is None else round(probability, 6),
            frame_stamp_ns=collision.frame.stamp_ns,
            label_image=label_image,
            overlay=picture,
            objects=objects,
            rule=collision.verdict.rule,
            contact_px=None if contact is None else round(contact, 3),
            trace=list(collision.verdict.trace),
            bundle=collision.bundle,
            timings_ms={k: round(v, 3) for k, v in collision.timings_ms.items()},
            **space,
        )
        self._texts.append(json.dumps([entry], indent=1)[2:-2])
        self._write()
        self.entries.append(entry)
        return entry

    def track(self, tracked: TrackedFrame) -> None:
        """Write the label image of a frame; that of a later event takes its place."""
        stamp_ns = tracked.frame.stamp_ns
        picture = f'tracks/{event_id(stamp_ns)}.png'
        labels = tracked.label_image()
        self._save(picture, labels)
        self.tracks[stamp_ns] = self._output.path / picture
        self._tracked[stamp_ns] = dict(
            frame_s=(stamp_ns - self._origin_ns) / NS_PER_S,
            frame_stamp_ns=stamp_ns,
            event=tracked.event,
            label_image=picture,
            objects=[
                None
                if found is None
                else dict(
                    label=label,
                    confidence=round(found.confidence, 6),
                    box=list(box_of(labels == number)),
                )
                for number, (label, found) in enumerate(
                    zip(tracked.labels, tracked.objects, strict=True), 1
                )
            ],
        )

    def finish_tracks(self) -> None:
        """Write ``tracks.json``: a list, one entry per tracked frame, in order of time."""
        with self._output.replacing(TRACKS) as part:
            entries = [self._tracked[stamp_ns] for stamp_ns in sorted(self._tracked)]
            part.write_text(json.dumps(entries, indent=1) + '\n', 'utf-8')

    def _in_space(
        self, collision: Collision, drawn: Image, objects: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Where the objects touched, as fields of the entry; each object gets its ``extent``, and
        the picture a cross. Nothing where nobody asks, or nothing was found."""
        if self._depth is None or not objects:
            return {}
        from cs3_ros.drawing.overlay import cross

        seen = self._depth.look(collision.frame.stamp_ns, collision.label_image())
        for one, extent in zip(objects, seen.sight.extents, strict=False):
            one['extent'] = extent and {
                'centre': _rounded(extent.centre),
                'size': _rounded(extent.size),
            }
        contact = seen.sight.contact
        if not isinstance(contact, Contact):
            return {'contact': None, 'no_contact': contact, 'camera_frame': seen.frame_id}
        if seen.camera is not None:
            height, width = drawn.shape[:2]
            cross(drawn, seen.camera.scaled(width, height).pixel(contact.point))
        found = {'point': _rounded(contact.point), 'gap_m': round(contact.gap_m, 6)}
        return {'contact': found, 'no_contact': None, 'camera_frame': seen.frame_id}

    def _save(self, name: str, image: NDArray[np.uint8]) -> None:
        with self._output.replacing(name) as part:
            save_image(part, image)

    def _write(self) -> None:
        with self._output.replacing(EVENTS) as part:
            text = '[\n' + ',\n'.join(self._texts) + '\n]\n' if self._texts else '[]\n'
            part.write_text(text, 'utf-8')


def _rounded(metres: Points) -> list[float]:
    return [round(float(value), 6) for value in metres]
