# %% [markdown]
# ### Exercise 1. Which voxels
# Three files for a task with blocks of 4 x 4 x 4: coarse voxels of 3.2 mm; coarse voxels of 8 mm; a fine grid of 0.9 mm on
# which each coarse voxel is repeated. Fill `made`, three numbers: how large are the voxels of the results, in mm? And `model`,
# three numbers: which of the trained models, at 1 and 2 mm, is nearest (by ratio)?
# %% tags=["solution"]
made = [3.2 / 4, 8 / 4, 0.9]
model = [1, 2, 1]
# %% tags=["stub"]
made = [..., ..., ...]  # your code here
model = [..., ..., ...]
# %% tags=["wrong"]
made = [3.2 / 4, 8 / 4, 0.9 / 4]
model = [1, 2, 1]
# %% tags=["check"]
from course.checks import near

near(made, [0.8, 2.0, 0.9], "a coarse file is refined by 4; a fine one has the grid of the result already")
near(
    model, [min((1, 2), key=lambda trained: abs(np.log(size / trained))) for size in made], "compare ratios to 1 and 2"
)

# %% [markdown]
# ### Exercise 2. Only the means are known
# `guess` is what a network answered, `measured` the mean of each 4 x 4 x 4 block, repeated. Change `guess` as little as
# possible (in squared error) so that each block has the measured mean. Fill `projected` [8, 8, 8].
# %% tags=["given"]
rng = np.random.default_rng(0)
guess, measured = rng.random((8, 8, 8)), rng.random((2, 2, 2)).repeat(4, 0).repeat(4, 1).repeat(4, 2)
# %% tags=["solution"]
blocks = guess.reshape(2, 4, 2, 4, 2, 4).mean((1, 3, 5)).repeat(4, 0).repeat(4, 1).repeat(4, 2)
projected = guess + measured - blocks
# %% tags=["stub"]
projected = ...  # your code here
# %% tags=["wrong"]
blocks = guess.reshape(2, 4, 2, 4, 2, 4).mean((1, 3, 5)).repeat(4, 0).repeat(4, 1).repeat(4, 2)
projected = guess * measured / blocks
# %% tags=["check"]
import torch

from course.checks import near
from diffens_core.data.measurement import BLOCKS

answer = BLOCKS.project(torch.from_numpy(guess)[None, None], torch.from_numpy(measured)[None, None])[0, 0].numpy()
near(
    projected,
    answer,
    "add to all voxels of a block what its mean lacks; a factor changes bright voxels more than needed",
)

# %% [markdown]
# ### Exercise 3. How far away
# Two training heads have volumes of 1300 and 1500 ml and a third one of 1400 ml; brightness has mean 0.2 and standard
# deviation 0.05. A new head has 1700 ml and a brightness of 0.3. With a standard deviation that divides by n - 1, and volumes
# as they are, fill `distance`: the root mean square of its two standard scores.
# %% tags=["solution"]
distance = np.sqrt((((1700 - 1400) / 100) ** 2 + ((0.3 - 0.2) / 0.05) ** 2) / 2)
# %% tags=["stub"]
distance = ...  # your code here
# %% tags=["wrong"]
distance = np.sqrt(((1700 - 1400) / 100) ** 2 + ((0.3 - 0.2) / 0.05) ** 2)
# %% tags=["check"]
from course.checks import near
from diffens_core.data.likeness import Likeness

found = Likeness({"volume": 1400.0, "brightness": 0.2}, {"volume": 100.0, "brightness": 0.05}, 0.0)
near(
    distance,
    found.distance({"volume": 1700.0, "brightness": 0.3}),
    "3 and 2 standard deviations; their mean square, its root",
)
