"""What makes noise of images and images of noise: schedules, the sampler, the loss, the contract of models, and
Gaussians whose answers are known in closed form. It imports `data` and `support`.
"""
