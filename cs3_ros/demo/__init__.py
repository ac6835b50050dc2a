"""``cs3 demo``: a clip live through bag, node and topics, compared with its truth.

Draws a table, an overlay video and an HTML report.
"""
