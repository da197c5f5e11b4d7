"""Networks: the U-Net and its layers, 2D networks applied to volumes, networks and weights of others, and precision.

This wing imports `diffusion` and the wings before it.
"""
