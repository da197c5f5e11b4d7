"""Volumes: NIfTI files, planes, tasks, the measurement and its projection, prepared data and random crops of them.

This wing imports `support` alone.
"""
