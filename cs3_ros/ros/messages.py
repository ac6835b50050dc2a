"""Collisions to ROS messages and ROS messages to frames and sound; no state, no node."""

from __future__ import annotations

import array
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header
from vision_msgs.msg import (
    BoundingBox3D,
    Classification,
    Detection2D,
    Detection2DArray,
    Detection3D,
    Detection3DArray,
    LabelInfo,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    VisionClass,
)

from cs3_ros.collision import NS_PER_S, Box, Collision, Image, Onset, box_of
from cs3_ros.files.bags import INFO
from cs3_ros.files.pcm import SoundFormat
from cs3_ros.ros.apt import apt_package
from cs3_ros.space.camera import Points
from cs3_ros.space.contact import Extent
from cs3_ros.space.turns import quaternion_of
from cs3_ros.tracking import TrackedFrame

IMPACT = 'impact'
"""Class of every ``onset``."""
IMPACT_PROBABILITY = 'impact_probability'
"""Name of the second result of an ``onset``, which says how probable a struck object is."""
SOUNDING = 'sounding'
"""Class of the hypothesis that says how well an object fits the sound."""
LABEL_NAMES = ('background', 'first_object', 'second_object')
"""What the values of the mask image are called in ``label_info``."""


def message_class(type_name: str) -> Any:
    """The Python class of a type name such as ``sensor_msgs/msg/Image``.

    Raises:
        ImportError: names the package that has to be installed.
    """
    package, _, name = type_name.partition('/msg/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f'message type {type_name!r} is not installed: `apt install {apt_package(package)}`, '
            'or `make setup` for the environment without ROS'
        ) from error


def stamp_to_ns(stamp: Time) -> int:
    """builtin_interfaces/Time to int nanoseconds."""
    return stamp.sec * NS_PER_S + stamp.nanosec


def ns_to_stamp(stamp_ns: int) -> Time:
    """Int nanoseconds to builtin_interfaces/Time."""
    return Time(sec=stamp_ns // NS_PER_S, nanosec=stamp_ns % NS_PER_S)


def header(stamp_ns: int, frame_id: str) -> Header:
    """A std_msgs/Header."""
    return Header(stamp=ns_to_stamp(stamp_ns), frame_id=frame_id)


def info_message(sound_format: SoundFormat) -> Any:
    """audio_common_msgs/AudioInfo of a sound format.

    Raises:
        ImportError: audio_common_msgs is not installed.
    """
    return message_class(INFO)(
        channels=sound_format.channels,
        sample_rate=sound_format.rate,
        sample_format=sound_format.sample_format,
        bitrate=sound_format.bitrate,
        coding_format=sound_format.coding_format,
    )


def image_message(header: Header, image: Image | NDArray[np.uint8]) -> ImageMessage:
    """sensor_msgs/Image of uint8 [H, W] (mono8) or [H, W, 3] (rgb8)."""
    height, width = image.shape[:2]
    message = ImageMessage(header=header, height=height, width=width, is_bigendian=0)
    message.encoding = 'mono8' if image.ndim == 2 else 'rgb8'
    message.step = width * (1 if image.ndim == 2 else 3)
    # An ndarray would be checked element by element (300 ms at 720p); array.array is copied.
    message.data = array.array('B', np.ascontiguousarray(image).tobytes())
    return message


def onset_message(onset: Onset, frame_id: str) -> Classification:
    """vision_msgs/Classification: what is heard at the stamp is an impact.

    The first score is the amplitude of the peak, 1 at full scale; it says how loud, not how sure.
    How sure is the second one, where the gate was asked.
    """
    score = min(1.0, 10 ** (onset.peak_dbfs / 20))
    results = [ObjectHypothesis(class_id=IMPACT, score=score)]
    if onset.probability is not None:
        results.append(ObjectHypothesis(class_id=IMPACT_PROBABILITY, score=onset.probability))
    return Classification(header=header(onset.stamp_ns, frame_id), results=results)


def detections_message(header: Header, collision: Collision) -> Detection2DArray:
    """vision_msgs/Detection2DArray: detections[k] is label k + 1 of the mask image.

    Each has two hypotheses of equal score. The first one's class tells which stage proposed the
    object; the second one's is its name in ``label_info``, so that a detection still finds its
    pixels where others have sorted or filtered the array. Where the bundle asks how well objects
    fit the sound, a third one, ``SOUNDING``, has that as its score.
    """
    array_message = Detection2DArray(header=header)
    for candidate, name in zip(collision.objects, LABEL_NAMES[1:], strict=False):
        results = [_hypothesis(text, candidate.score) for text in (candidate.label, name)]
        if candidate.sounding is not None:
            results.append(_hypothesis(SOUNDING, candidate.sounding))
        detection = Detection2D(header=header, id=collision.id, results=results)
        array_message.detections.append(_boxed(detection, candidate.box))
    return array_message


def tracked_message(
    header: Header, tracked: TrackedFrame, labels: NDArray[np.uint8]
) -> Detection2DArray:
    """vision_msgs/Detection2DArray of the objects that are still seen, with confidences as scores.

    Each has the two hypotheses of ``detections_message``; the second one's class tells its label,
    for one that is lost leaves the array.

    Args:
        header: of the frame.
        tracked: the objects.
        labels: its label image, uint8 [H, W].
    """
    array_message = Detection2DArray(header=header)
    for value, each in enumerate(tracked.objects, 1):
        if each is None:
            continue
        texts = (tracked.labels[value - 1], LABEL_NAMES[value])
        results = [_hypothesis(text, each.confidence) for text in texts]
        detection = Detection2D(header=header, id=tracked.event, results=results)
        array_message.detections.append(_boxed(detection, box_of(labels == value)))
    return array_message


def _boxed(detection: Detection2D, box: Box) -> Detection2D:
    x0, y0, x1, y1 = box
    detection.bbox.center.position.x = (x0 + x1) / 2
    detection.bbox.center.position.y = (y0 + y1) / 2
    detection.bbox.size_x = x1 - x0
    detection.bbox.size_y = y1 - y0
    return detection


def label_info_message(header: Header) -> LabelInfo:
    """vision_msgs/LabelInfo of the mask image."""
    classes = [VisionClass(class_id=k, class_name=name) for k, name in enumerate(LABEL_NAMES)]
    return LabelInfo(header=header, class_map=classes, threshold=0.0)


def point(values: Points) -> Point:
    """geometry_msgs/Point of x, y, z."""
    return Point(x=float(values[0]), y=float(values[1]), z=float(values[2]))


def detections_3d_message(
    header: Header,
    detections: Detection2DArray,
    extents: Sequence[Extent | None],
    turn: Points,
    shift: Points,
) -> Detection3DArray:
    """vision_msgs/Detection3DArray of the objects that have depth.

    Each has id and hypotheses of its flat detection; its box is turned as the camera is.

    Args:
        header: of the frame that the boxes are given in.
        detections: one per label of the mask image.
        extents: of the same objects, in the optical frame; None where depth is missing.
        turn: rotation [3, 3] from the optical frame to that frame.
        shift: translation [3].
    """
    array_message = Detection3DArray(header=header)
    x, y, z, w = quaternion_of(turn)
    for flat, extent in zip(detections.detections, extents, strict=False):
        if extent is None:
            continue
        place = point(turn @ extent.centre + shift)
        pose = Pose(position=place, orientation=Quaternion(x=x, y=y, z=z, w=w))
        width, height, depth = (float(v) for v in extent.size)
        box = BoundingBox3D(center=pose, size=Vector3(x=width, y=height, z=depth))
        array_message.detections.append(
            Detection3D(header=header, id=flat.id, results=flat.results, bbox=box)
        )
    return array_message


def _hypothesis(class_id: str, score: float) -> ObjectHypothesisWithPose:
    hypothesis = ObjectHypothesis(class_id=class_id, score=float(score))
    return ObjectHypothesisWithPose(hypothesis=hypothesis)
