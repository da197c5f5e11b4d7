# %% [markdown]
# ### Exercise 1. Between the extremes
# K samples and the truth are K + 1 independent draws from one distribution, so each of them is equally likely to be the
# smallest, and the largest. Fill `expected` with two numbers: how often the truth lies between the extremes of 5 samples,
# and of 10.
# %% tags=["solution"]
expected = [4 / 6, 9 / 11]
# %% tags=["stub"]
expected = [..., ...]  # your code here
# %% tags=["wrong"]
expected = [5 / 6, 10 / 11]
# %% tags=["check"]
from course.checks import near

near(
    expected,
    [1 - 2 / (k + 1) for k in (5, 10)],
    "it is the smallest of all with probability 1 / (K + 1), and the largest too",
)

# %% [markdown]
# ### Exercise 2. One factor for all
# Of the first subject, `std` [N] and `error` [N] hold the spread and the error of each voxel of the brain. Fill `factor`,
# a number: the least one for which `error <= factor * std` holds at 90 % of these voxels (`np.quantile`). The check uses
# it on another subject. (This is the idea of conformal prediction.)
# %% tags=["given"]
import numpy as np

std, error = (v[pair.brain].double().numpy() for v in (found[chosen[-1]].std, found[chosen[-1]].error))
std = std + 1e-9  # where all samples agree
# %% tags=["solution"]
factor = np.quantile(error / std, 0.9)
# %% tags=["stub"]
factor = ...  # your code here
# %% tags=["wrong"]
factor = np.quantile(error, 0.9) / std.mean()
# %% tags=["check"]
from course.checks import near

near(factor, np.quantile(error / std, 0.9), "a quantile of the ratio error / std, voxel by voxel", tolerance=0.01)
second = pairs[1]
spread = uncertainty(drawn[chosen[-1]].of(second, samples)[:, 0], second.x0[0])
inside = spread.error[second.brain] <= factor * (spread.std[second.brain] + 1e-9)
print(f"of {second.subject}, another subject, it covers {float(inside.float().mean()):.1%}")

# %% [markdown]
# ### Exercise 3. The same MACE, and useless
# The errors at four voxels are `wrong_by`, and a first model's spread there is `useful`: largest where it is most wrong.
# Fill `useless` [4]: a spread that is the same at all voxels, so that it tells nothing, and has the same MACE, the mean
# of | std - error |.
# %% tags=["given"]
import numpy as np

wrong_by = np.array([0.0, 0.2, 0.0, 0.2])
useful = wrong_by + 0.1
# %% tags=["solution"]
useless = np.full(4, 0.1)
# %% tags=["stub"]
useless = ...  # your code here
# %% tags=["wrong"]
useless = np.full(4, 0.4)
# %% tags=["check"]
from course.checks import answered, holds, near

answered(useless)
holds(np.shape(useless) == (4,) and np.ptp(useless) == 0, "the same number at all four voxels")
near(
    np.abs(useless - wrong_by).mean(),
    np.abs(useful - wrong_by).mean(),
    "its MACE must be 0.1, as that of the first model",
)

# %% [markdown]
# ### Exercise 4. Too sure
# The curve of a trained model lies below the diagonal: of intervals meant to hold 90 %, far fewer hold the truth. Why
# does drawing more samples not cure it?
#
# - a) Samples show what the model thinks possible. What it has not learnt is in none of them, however many are drawn.
# - b) It would, but 100 samples are needed.
# - c) Student's intervals are too narrow.
# - d) The samples depend on each other.
#
# Fill `answer` with a letter in quotes.
# %% tags=["solution"]
answer = "a"
# %% tags=["stub"]
answer = ...  # your letter here
# %% tags=["wrong"]
answer = "c"
# %% tags=["check"]
from course.checks import choice

choice(answer, "a", "more samples estimate the model's own spread better: whose error is missing in it?")
