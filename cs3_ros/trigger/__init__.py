"""When, and what to look at: sound and frames on one clock, onsets, collision clips.

Knows neither files nor topics: whatever has sound and frames pushes them into ``stream.py``.
"""
