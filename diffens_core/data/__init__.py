"""Volumes and what is measured of them: grids, planes, tasks, the measurement and its projection, prepared data and
windows of them. It imports `support` alone.
"""
