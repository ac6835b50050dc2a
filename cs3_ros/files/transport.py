"""What the packets of an MPEG transport stream say of their order. It has no declared end, but each
packet has a counter; FFmpeg passes over most of what is missing without a word.

Format: ISO/IEC 13818-1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

LENGTHS = (188, 192, 204)
"""Bytes of a packet: plain, with a time before it, with a code behind it."""
_PACKETS = 1 << 16
"""Packets that are looked at together."""
_NULL = 0x1FFF


def transport_problems(path: Path) -> list[str]:
    """What is not as it should be, a line each.

    Raises:
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open('rb') as file:
        head = np.frombuffer(file.read(5 * max(LENGTHS)), np.uint8)
        length, first = _layout(head)
        problems = []
        if size % length:
            problems.append(f'cut off: {size} bytes are no whole number of packets')
        damaged = missing = 0
        last: dict[int, int] = {}
        file.seek(0)
        while len(data := file.read(length * _PACKETS)) >= length:
            count = len(data) // length
            packets = np.frombuffer(data, np.uint8, count * length).reshape(count, length)
            packets = packets[:, first : first + 188]
            good = (packets[:, 0] == 0x47) & (packets[:, 1] < 0x80)
            damaged += int((~good).sum())
            missing += _missing(packets[good], last)
    if damaged:
        problems.append(f'{damaged} damaged packet(s) of the transport stream')
    if missing:
        problems.append(f'packets of the transport stream are missing at {missing} place(s)')
    return problems


def _layout(head: np.ndarray) -> tuple[int, int]:
    """Length of a packet, and where in it the packet proper begins."""
    return max(
        ((length, 4 if length == 192 else 0) for length in LENGTHS),
        key=lambda layout: int((head[layout[1] :: layout[0]] == 0x47).sum()),
    )


def _missing(packets: np.ndarray, last: dict[int, int]) -> int:
    """Places where a counter does not go on.

    Args:
        packets: uint8 [N, 188].
        last: stream -> its last counter; is brought up to date.
    """
    streams = (packets[:, 1].astype(np.int64) & 0x1F) << 8 | packets[:, 2]
    counters, control = packets[:, 3] & 0x0F, packets[:, 3] & 0x30
    # a counter may jump where the packet says so
    jumps = (control >= 0x20) & (packets[:, 4] > 0) & (packets[:, 5] >= 0x80)
    missing = 0
    for stream in np.unique(streams):
        of_stream = (streams == stream) & ((control & 0x10) > 0)
        if stream == _NULL or not of_stream.any():
            continue
        counts = counters[of_stream].astype(np.int64)
        before = np.concatenate([[last.get(int(stream), counts[0])], counts[:-1]])
        step = (counts - before) % 16  # 0: the same packet once more
        missing += int(((step > 1) & ~jumps[of_stream]).sum())
        last[int(stream)] = int(counts[-1])
    return missing
