"""Tiny media files made by PyAV, with known times and pixels."""

from fractions import Fraction

import av
import numpy as np

from cs3_ros.collision import NS_PER_S, Frame
from cs3_ros.files.pcm import SoundChunk

RATE = 30


def grey_ramp(index, size=(64, 48)):
    """Frame ``index``: plain grey of value ``8 * index`` with a white top-left quarter."""
    image = np.full((size[1], size[0], 3), 8 * index, np.uint8)
    image[: size[1] // 2, : size[0] // 2] = 255
    return image


def brightness(frame):
    """Mean of the lower right quarter of a picture."""
    height, width = frame.image.shape[:2]
    return frame.image[height // 2 + 4 :, width // 2 + 4 :].mean()


def impulses(seconds, rate, at, channels=1):
    """float32 [N, C], silent but for single full-scale samples at the times ``at`` (seconds)."""
    samples = np.zeros((round(seconds * rate), channels), np.float32)
    samples[[round(time * rate) for time in at]] = 0.9
    return samples


def write_media(
    path,
    *,
    frames=15,
    stamps_s=None,
    size=(64, 48),
    picture=grey_ramp,
    sound=None,
    sound_at_s=0.0,
    rate=48000,
    sound_codec='pcm_s16le',
    sound_format='s16',
    video_codec='mpeg4',
    rotation=None,
):
    """Write a file with a video track (unless ``frames`` is 0) and ``sound`` (unless None).

    ``sound`` is float [N, C], or a list of (start_s, samples) pieces.
    """
    with av.open(str(path), 'w') as container:
        video = track = None
        if frames:
            video = container.add_stream(video_codec, rate=RATE)
            video.width, video.height = size
            video.pix_fmt = 'rgb24' if video_codec == 'png' else 'yuv420p'
            video.codec_context.time_base = Fraction(1, 60000)
            if not video_codec.startswith('libvpx'):
                video.codec_context.qmin = video.codec_context.qmax = 2
            if rotation is not None:
                video.set_display_rotation(*rotation)
        if sound is not None:
            pieces = sound if isinstance(sound, list) else [(sound_at_s, sound)]
            layout = 'stereo' if pieces[0][1].shape[1] == 2 else 'mono'
            track = container.add_stream(sound_codec, rate=rate, layout=layout)
            track.codec_context.format = sound_format
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index, size), format='rgb24')
            time = index / RATE if stamps_s is None else stamps_s[index]
            frame.time_base, frame.pts = Fraction(1, 60000), round(time * 60000)
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode(None))
        if track is not None:
            for start_s, samples in pieces:
                for first in range(0, len(samples), 1024):
                    data = np.rint(samples[first : first + 1024] * 32767).astype(np.int16)
                    frame = av.AudioFrame.from_ndarray(data.reshape(1, -1), 's16', layout)
                    frame.sample_rate = rate
                    frame.time_base, frame.pts = Fraction(1, rate), round(start_s * rate) + first
                    container.mux(track.encode(frame))
            container.mux(track.encode(None))
    return path


def split(stream):
    """Frames and sound chunks of a stream."""
    items = list(stream)
    frames = [item for item in items if isinstance(item, Frame)]
    return frames, [item for item in items if isinstance(item, SoundChunk)]


def sample_times_s(chunks, level=0.5):
    """Times of the samples louder than ``level``."""
    times = []
    for chunk in chunks:
        loud = np.flatnonzero(np.abs(chunk.samples).max(1) > level)
        times += (chunk.stamp_ns / NS_PER_S + loud / chunk.rate).tolist()
    return times
