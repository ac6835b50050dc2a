"""The detector of hands and held objects: its data set, its training, detections beforehand."""
