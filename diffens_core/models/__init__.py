"""Models that translate, and the segmenter: experts, averages, the fusion, and the methods that they are compared with.

This wing imports `networks` and the wings before it.
"""
