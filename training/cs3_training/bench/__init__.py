"""``cs3-train bench``: throughput of a training step beside the plain way of computing it.

``reencoding.py`` is that plain way, what the public ACL-SSL code does.
"""
