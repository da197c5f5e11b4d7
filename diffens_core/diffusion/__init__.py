"""Diffusion: noise schedules, the sampler, the loss, the contract of models, and Gaussian volumes with exact answers.

This wing imports `data` and `support`.
"""
