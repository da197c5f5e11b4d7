"""From a configuration to trained weights: the loop, its checkpoints, the registry of stages, run folders and what is
shipped. It imports `models` and what stands before it.
"""
