"""Named sets of stages (the YAML files here), their weights: described, found, fetched, built.

``stages.py`` is the registry of all stages: add yours there, or by an entry point.
"""
