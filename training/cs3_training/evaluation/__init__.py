"""Evaluation of a bundle on held-out scenes: samples, evidence, rows, runs and tables."""
