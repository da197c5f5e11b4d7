"""Measuring translations: image metrics, uncertainty, distances between sets, segmentation, statistics.

This wing imports `experiment` and the wings before it.
"""
