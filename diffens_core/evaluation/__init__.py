"""What translations are worth: metrics, uncertainty, distances between sets, segmentation, statistics. It imports
`experiment` and what stands before it.
"""
