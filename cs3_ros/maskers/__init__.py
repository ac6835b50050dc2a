"""Stages that turn boxes and points into masks; each fits ``pipeline.Masker``.

``bundles/stages.py`` lists them by name.
"""
