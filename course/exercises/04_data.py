# %% [markdown]
# ### Exercise 1. Block means
# Measure the target without the library: fill `low` [1, 1, x, y, z] with the means of its blocks of 4 x 4 x 4 voxels. A
# block that the border cuts is averaged over the voxels that it has.
# %% tags=["solution"]
low = torch.nn.functional.avg_pool3d(x0, 4, ceil_mode=True)
# %% tags=["stub"]
low = ...  # your code here
# %% tags=["wrong"]
low = x0[..., ::4, ::4, ::4]
# %% tags=["check"]
from course.checks import near

near(
    low, BLOCKS.measure(x0), "a mean of 64 voxels, not one of them; torch has average pooling, with ceil_mode for cuts"
)

# %% [markdown]
# ### Exercise 2. The projection
# Fill `mine` [1, 1, X, Y, Z]: the volume nearest to `noisy` that is measured as `y`. Use $A$ (`BLOCKS.degrade`), and
# not `BLOCKS.project`.
# %% tags=["solution"]
mine = noisy - BLOCKS.degrade(noisy) + y
# %% tags=["stub"]
mine = ...  # your code here
# %% tags=["wrong"]
mine = noisy - BLOCKS.degrade(noisy)
# %% tags=["check"]
from course.checks import near

near(
    mine,
    BLOCKS.project(noisy, y),
    "take the block means of the estimate away, and put the measured ones in their place",
)

# %% [markdown]
# ### Exercise 3. What the projection is worth
# `fixed` is nearer to the target than `noisy`: of the noise, which is equally large in all directions, the part in the
# block means is gone. `kept` numbers were measured of `voxels`. By how many decibels should PSNR rise? Fill `gain`, a
# number, from `kept` and `voxels` alone; then compare with what is measured here.
# %% tags=["given"]
kept, voxels = BLOCKS.measure(x0).numel(), x0.numel()
measured_gain = 10 * torch.log10((noisy - x0).square().mean() / (fixed - x0).square().mean()).item()
# %% tags=["solution"]
gain = -10 * torch.log10(torch.tensor(1 - kept / voxels)).item()
# %% tags=["stub"]
gain = ...  # your code here
# %% tags=["wrong"]
gain = -20 * torch.log10(torch.tensor(1 - kept / voxels)).item()
# %% tags=["check"]
from math import log10

from course.checks import near

near(
    gain,
    -10 * log10(1 - kept / voxels),
    "a share kept / voxels of the squared error goes; decibels are 10 log10 of a ratio",
)
print(f"measured: {measured_gain:.4f} dB")

# %% [markdown]
# ### Exercise 4. One hot voxel
# In `spoiled` one voxel of the brain is a hundred times brighter than the brightest. Scale it twice to [-1, 1]: linearly,
# with the smallest value in the brain to -1 and the largest to 1, and by `fit_scale(spoiled, brain).apply(spoiled,
# brain)`. How much of the range is left for the rest? Fill `spread` with two numbers, in this order: the 95th minus the
# 5th percentile of the scaled brain (`np.percentile`).
# %% tags=["given"]
import numpy as np

spoiled = next(iter(contrasts.values())).copy()
spoiled[tuple(np.argwhere(brain)[0])] = 100 * spoiled[brain].max()
# %% tags=["solution"]
inside, robust = spoiled[brain], fit_scale(spoiled, brain).apply(spoiled, brain)[brain]
plain = 2 * (inside - inside.min()) / (inside.max() - inside.min()) - 1
spread = [np.subtract(*np.percentile(values, [95, 5])) for values in (plain, robust)]
# %% tags=["stub"]
spread = [..., ...]  # your code here
# %% tags=["wrong"]
spread = [np.subtract(*np.percentile(spoiled[brain], [95, 5])) / spoiled[brain].max()] * 2
# %% tags=["check"]
from course.checks import answered, holds, near

answered(spread)
holds(np.shape(spread) == (2,), "two numbers")
low_end, high_end = np.percentile(spoiled[brain], [5, 95])
scale = fit_scale(spoiled, brain)
width = spoiled[brain].max() - spoiled[brain].min()
near(spread[0], 2 * (high_end - low_end) / width, "first the scale by extremes; [-1, 1] is two wide", 0.01)
kept = min(high_end, scale.high) - max(low_end, scale.low)
near(spread[1], 2 * kept / (scale.high - scale.low), "then the scale by percentiles: that of `fit_scale`", 0.01)

# %% [markdown]
# ### Exercise 5. Why not the target's own scale?
# A target is scaled by its degraded version. What would go wrong if it were scaled by itself?
#
# - a) It would take longer.
# - b) Its background would no longer be -1.
# - c) At inference there is no target: the networks would get a scale then that they were not trained with, or one that
#   tells what they should find out.
# - d) Nothing.
#
# Fill `answer` with a letter in quotes.
# %% tags=["solution"]
answer = "c"
# %% tags=["stub"]
answer = ...  # your letter here
# %% tags=["wrong"]
answer = "d"
# %% tags=["check"]
from course.checks import choice

choice(answer, "c", "what is known when somebody else's scan comes in?")
