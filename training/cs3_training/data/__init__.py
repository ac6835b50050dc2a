"""From a lab's own EPIC-KITCHENS and Ego4D to shards of sounds and pictures: annotations are read,
what they name is cut from the videos.

No frame, sound or annotation of these data sets is in this repository; their licences forbid it.
"""
