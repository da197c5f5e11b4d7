"""What a notebook opens: presets, methods by name, an experiment on a data set, and the samples drawn in it. It
imports `training` and what stands before it.
"""
