"""Stages that find where the sound is; each fits ``pipeline.Localiser``.

``bundles/stages.py`` lists them by name.
"""
