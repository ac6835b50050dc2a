"""Trackers: the masks of an event carried on to later frames."""
