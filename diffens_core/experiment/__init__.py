"""Experiments: presets, methods by name, an experiment on a data set, and the samples drawn in it.

This wing imports `training` and the wings before it.
"""
