"""Labels of the points that SAM 2 and its kin are asked with."""

NEGATIVE, POSITIVE, TOP_LEFT, BOTTOM_RIGHT = 0, 1, 2, 3
"""Off the object, on it, and the two corners of a box round it."""
