"""Stages that find what each hand holds; each fits ``pipeline.HandDetector``.

``bundles/stages.py`` lists them by name.
"""
