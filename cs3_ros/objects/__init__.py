"""Stages that propose the objects of a picture; each fits ``pipeline.ObjectProposer``.

``bundles/stages.py`` lists them by name.
"""
