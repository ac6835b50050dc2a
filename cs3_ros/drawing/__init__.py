"""Where people look: overlays, overlay videos, pictures of a report, HTML pages.

Loaded only to draw; nothing that decides an answer lives here.
"""
