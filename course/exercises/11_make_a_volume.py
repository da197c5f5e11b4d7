# %% [markdown]
# ### Exercise 1. Whose error is it?
# `back` is what the autoencoder makes of the truth, `sampled` a sample of Make-A-Volume. Fill `share`: the mean squared
# error of `back`, over all voxels, as a share of that of `sampled`.
# %% tags=["given"]
sampled = made[names[1]]
# %% tags=["solution"]
share = ((back - truth) ** 2).mean() / ((sampled - truth) ** 2).mean()
# %% tags=["stub"]
share = ...  # your code here
# %% tags=["wrong"]
share = abs(back - truth).mean() / abs(sampled - truth).mean()
# %% tags=["check"]
from course.checks import near

squared = [float(((volume - truth) ** 2).mean()) for volume in (back, sampled)]
near(share, squared[0] / squared[1], "the mean of the squares of back - truth, divided by that of sampled - truth")
print("the sample is projected onto what was measured, and `back` is not: the share may even be above 1")

# %% [markdown]
# ### Exercise 2. Where windows overlap
# A head has `depth` slices, and windows of `WINDOW` slices start at `starts`. Fill `counts` [depth]: how many windows
# predict each slice.
# %% tags=["given"]
import numpy as np

starts = window_starts(depth, WINDOW, OVERLAP)
# %% tags=["solution"]
slices = np.arange(depth)
counts = sum((slices >= start) & (slices < start + WINDOW) for start in np.array(starts)[:, None]).astype(int)
# %% tags=["stub"]
counts = ...  # your code here
# %% tags=["wrong"]
counts = np.full(depth, len(starts))
# %% tags=["check"]
from course.checks import near

expected = np.zeros(depth)
for start in starts:
    expected[start : start + WINDOW] += 1
near(counts, expected, "a window that starts at s has the slices from s to s + WINDOW - 1", tolerance=1e-6)
print("predictions of a slice are averaged over its windows:", *expected.astype(int))

# %% [markdown]
# ### Exercise 3. Starting from the slice-wise model
# A convolution along the slices, with a window of three, must at first hand on what it gets. Fill `kernel` [3], its
# weights (float32).
# %% tags=["solution"]
kernel = torch.tensor([0.0, 1.0, 0.0])
# %% tags=["stub"]
kernel = ...  # your code here
# %% tags=["wrong"]
kernel = torch.ones(3) / 3
# %% tags=["check"]
from course.checks import answered, holds, near

answered(kernel)
holds(np.shape(kernel) == (3,), "three weights: of the slice before, of the slice itself, of the slice after")
lines = torch.randn(5, 1, 9, generator=torch.Generator().manual_seed(seed))
passed = torch.nn.functional.conv1d(lines, torch.as_tensor(kernel).float().reshape(1, 1, 3), padding=1)
near(passed, lines, "each slice should be itself, and nothing of its neighbours")

# %% [markdown]
# ### Exercise 4. Why the 2D weights stay frozen
# Only the volumetric layers are tuned. What speaks for it?
#
# - a) Frozen weights need no memory.
# - b) 2D weights could not be trained on stacks.
# - c) Otherwise the projection would not work.
# - d) Stacks are few: on them, weights that learnt from many slices would soon know these few heads by heart.
#
# Fill `answer` with a letter in quotes.
# %% tags=["solution"]
answer = "d"
# %% tags=["stub"]
answer = ...  # your letter here
# %% tags=["wrong"]
answer = "b"
# %% tags=["check"]
from course.checks import choice

choice(answer, "d", "how many examples is a volume worth to a 2D model, and how many to a 3D one?")
