"""Weakly supervised training of the localiser of the bundle ``cs3``.

``cs3-train train``: from pictures and their sounds to ``audio_visual.safetensors``.
"""
