"""Strategies that choose among candidates; each fits ``pipeline.Verifier``.

``bundles/stages.py`` lists them by name. The paper's own, ``contact``, is ``verification.py``.
"""
