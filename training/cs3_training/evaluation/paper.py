"""What the CS3 paper printed (method.md D4), to stand beside what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

PaperSet = Literal['epic', 'ego4d']
"""Data set of which the paper has figures: EPIC-CS3, Ego4D-CS3."""
Figures = tuple[float, float]
"""mIoU and AUC in percent."""

TABLES: Mapping[str, Mapping[str, str]] = {
    'Table 1': {
        'random': 'Random',
        'centre': 'Centre',
        'clipsound': 'CLIPSound',
        'mix_localize': 'Mix-Localize, two masks',
        'av': 'Ours, AV alone',
        'full': 'Ours, two masks',
    },
    'Table 2': {
        'full': 'Ours',
        'full_no_sam': 'without SAM(AV)',
        'full_no_sam_no_crop': 'and without crop',
        'av_no_crop': 'and without hands',
    },
    'Table 3': {
        'right': 'Right',
        'left': 'Left',
        'right_av': 'Right-AV',
        'left_av': 'Left-AV',
        'touch': 'Touch',
        'right_left': 'Right-Left',
        'full': 'Ours',
        'oracle': 'Oracle',
    },
}
"""Table -> row -> how the paper calls it. CLIPSound and Mix-Localize are methods of others."""

PUBLISHED: Mapping[PaperSet, Mapping[str, Figures]] = {
    'epic': {
        'random': (2.16, 3.96),
        'centre': (6.95, 7.43),
        'clipsound': (6.46, 6.97),
        'mix_localize': (7.20, 7.53),
        'av': (13.13, 13.48),
        'full': (39.38, 39.60),
        'full_no_sam': (37.92, 37.93),
        'full_no_sam_no_crop': (37.67, 37.75),
        'av_no_crop': (10.01, 10.11),
        'right': (25.66, 26.48),
        'left': (19.00, 20.25),
        'right_av': (31.28, 31.64),
        'left_av': (23.82, 24.57),
        'touch': (34.03, 34.80),
        'right_left': (37.63, 37.81),
        'oracle': (44.10, 44.38),
    },
    'ego4d': {
        'random': (5.81, 6.42),
        'centre': (6.06, 6.82),
        'clipsound': (7.53, 8.25),
        'mix_localize': (7.17, 7.65),
        'av': (8.16, 8.48),
        'full': (38.34, 38.43),
    },
}
"""Data set -> row -> what was printed."""

SAMPLES: Mapping[PaperSet, int] = {'epic': 614, 'ego4d': 528}
"""Frames of the evaluation."""
SUBSETS: Mapping[int, tuple[float, int]] = {1: (36.678, 143), 2: (40.205, 471)}
"""EPIC-CS3: number of annotated masks -> mIoU of the full system and number of frames."""
