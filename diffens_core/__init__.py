"""Diff-Ensembler / Score-Fusion: volume-to-volume translation with 2D diffusion models fused in 3D."""

__version__ = "0.1.0"
