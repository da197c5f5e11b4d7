"""Networks without a purpose of their own: the U-Net, its layers, what lifts slices to volumes, what is borrowed from
others, and how precisely they compute. It imports `diffusion` and what stands before it.
"""
