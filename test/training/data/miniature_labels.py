"""Evaluation sets and labels of hands for the miniature EPIC-KITCHENS and Ego4D."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from miniature import UIDS, clock, even, make_video, uneven, write_ego4d, write_epic
from PIL import Image

RATES = {
    'P01_14': '30000/1001', 'P02_09': '30', 'P03_102': '50', 'P04_25': '60000/1001',
    'P05_01': 'variable',
}  # fmt: skip
"""Video of the evaluation -> its frames per second."""
SPANS = ((2.0, 2.6), (3.0, 5.6))
"""Segments of each video: one that is heard whole, one that is heard about its loudest sample."""
CLICKS = (2.3, 4.9)
CHOSEN = (2.347, 4.953)
SIZE = (96, 64)


@dataclass(frozen=True)
class Truth:
    """What is true of a frame of the evaluation."""

    frame_s: float
    """Media time of the picture nearest to the chosen time."""
    number: int
    """That it tells."""
    click_s: float
    """When it is heard."""


def stamps_of(rate: str, seconds: float) -> list[float]:
    return uneven(seconds) if rate == 'variable' else even(seconds, Fraction(rate))


def nearest(stamps: list[float], time_s: float, click_s: float) -> Truth:
    number = int(np.abs(np.array(stamps) - time_s).argmin())
    return Truth(stamps[number], number, click_s)


def make_epic_val(folder: Path) -> dict[str, Truth]:
    """``EPIC-KITCHENS`` with a video of each rate, ``epic_val_filtered.csv`` and ``masks``."""
    rows, chosen, truth = [], [], dict[str, Truth]()
    for video, rate in RATES.items():
        stamps = stamps_of(rate, 6)
        path = folder / 'EPIC-KITCHENS' / video[:3] / 'videos' / f'{video}.MP4'
        make_video(path, stamps, list(CLICKS), seconds=6, size=SIZE, noise=8)
        for span, time_s, click_s in zip(SPANS, CHOSEN, CLICKS, strict=True):
            truth[f'{video}_{len(rows)}'] = nearest(stamps, time_s, click_s)
            rows.append((video, *span))
            chosen.append(time_s)
    write_epic(folder / 'epic_val_filtered.csv', rows, chosen)
    write_masks(folder / 'masks', list(truth))
    return truth


def make_ego4d_val(folder: Path) -> dict[str, Truth]:
    """``ego4d`` with a video of 30 and one of uneven rate, the val table and ``masks``."""
    truth, rows, chosen = dict[str, Truth](), [], []
    for uid, rate in zip(UIDS, ('30', 'variable'), strict=True):
        stamps = stamps_of(rate, 8)
        path = folder / 'ego4d' / 'v2' / 'full_scale' / f'{uid}.mp4'
        make_video(path, stamps, [1.2, 5.0], seconds=8, size=SIZE, noise=8, rate=44_100)
        for start, click_s in ((0.0, 1.2), (4.25, 5.0)):
            truth[f'{uid}_{start:.2f}_{start + 3:.2f}'] = nearest(stamps, click_s, click_s)
            rows.append((uid, start))
            chosen.append(click_s)
    table = write_ego4d(folder / 'ego4d_val_filtered.csv', rows)
    lines = table.read_text().splitlines()
    more = ['selected_timestamp,selected_timestamp_relative,selected_frame_relative,'
            'selected_frame_type']  # fmt: skip
    for (_, start), time_s in zip(rows, chosen, strict=True):
        relative = time_s - start
        more.append(f'{clock(time_s)},{relative:.2f},{round(30 * relative)}.0,manual')
    table.write_text('\n'.join(f'{a},{b}' for a, b in zip(lines, more, strict=True)) + '\n')
    write_masks(folder / 'masks', list(truth))
    return truth


def write_masks(folder: Path, ids: list[str]) -> None:
    """Two masks for every other frame, one for the rest, at twice the size of the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, identifier in enumerate(ids):
        for number in range(1, 2 + k % 2):
            mask = np.zeros((2 * SIZE[1], 2 * SIZE[0]), np.uint8)
            mask[20 + 30 * number :][:40, 30 + 20 * k % 60 :][:, :50] = 255
            Image.fromarray(mask).save(folder / f'{identifier}_{number}.png')


def write_visor(folder: Path, name: str, video: str, count: int) -> None:
    """``annotations/NAME/VIDEO.json`` and ``rgb_frames/NAME``: each hand touches something."""
    frames, rng = [], np.random.default_rng(count)
    pictures = folder / 'rgb_frames' / name / video[:3] / video
    pictures.mkdir(parents=True)
    for k in range(count):
        file = f'{video}_frame_{100 * k + 40:010d}.jpg'
        image = rng.integers(80, 120, (108, 192, 3)).astype(np.uint8)
        rows = []
        for side, class_id, x in (('left', 300, 200 + 20 * k), ('right', 301, 1100)):
            for what, y, shade in (('hand', 300, 230), ('thing', 700, 15)):
                corners = [[x, y], [x + 400, y], [x + 400, y + 300], [x, y + 300]]
                image[y // 10 : y // 10 + 30, x // 10 : x // 10 + 40] = shade
                row = {'id': f'{side} {what}', 'name': f'{side} {what}', 'segments': [corners]}
                row['class_id'] = class_id if what == 'hand' else 7
                if what == 'hand':
                    row['in_contact_object'] = f'{side} thing'
                rows.append(row)
        Image.fromarray(image).save(pictures / file)
        frames.append({'image': {'video': video, 'name': file}, 'annotations': rows})
    labels = folder / 'annotations' / name
    labels.mkdir(parents=True)
    (labels / f'{video}.json').write_text(json.dumps({'video_annotations': frames}))


def write_hands23(path: Path, ids: list[str]) -> None:
    """What the demo of Hands23 leaves for the pictures of an evaluation, all numbers as text."""
    hand = {
        'hand_id': 0, 'hand_side': 'right_hand', 'hand_bbox': ['10', '30', '30', '60'],
        'hand_pred_score': '0.98', 'contact_state': 'object_contact', 'obj_touch': 'tool_,_used',
        'obj_bbox': ['12', '22', '40', '40'], 'obj_pred_score': '0.8', 'grasp': 'None',
        'second_obj_bbox': ['35', '20', '70', '45'], 'sec_obj_pred_score': '0.6',
    }  # fmt: skip
    left = hand | {
        'hand_side': 'left_hand', 'hand_bbox': ['60', '30', '90', '60'],
        'obj_bbox': ['50', '20', '80', '40'], 'second_obj_bbox': None, 'sec_obj_pred_score': 'None',
    }  # fmt: skip
    images = [{'file_name': f'{identifier}.png', 'predictions': [hand, left]} for identifier in ids]
    path.write_text(json.dumps({'save_dir': 'out', 'images': images}))


def write_rtdetr(folder: Path) -> None:
    """A tiny RT-DETRv2 with the 80 classes of COCO, as transformers keeps it."""
    import torch
    from transformers import RTDetrImageProcessor, RTDetrV2ForObjectDetection

    from cs3_training.nano.config import HandsConfig
    from cs3_training.nano.networks import tiny_hands

    torch.manual_seed(0)
    tiny = tiny_hands(HandsConfig(backbone=8, width=32, queries=20, decoder_layers=2)).config
    tiny.id2label = {k: f'thing {k}' for k in range(80)}
    tiny.label2id = {name: k for k, name in tiny.id2label.items()}
    RTDetrV2ForObjectDetection(tiny).save_pretrained(folder)
    RTDetrImageProcessor(size={'height': 64, 'width': 64}).save_pretrained(folder)
