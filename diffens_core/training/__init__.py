"""Training: run configurations, stages, the loop and its checkpoints, run folders, and shipping of finished weights.

This wing imports `models` and the wings before it.
"""
