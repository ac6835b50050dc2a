"""New collision data from unlabelled video of people at work: candidates found in the sound, and
frames with masks that people draw, for an evaluation of their own.
"""
