# %% [markdown]
# ### Exercise 1. A rule of your own
# Write a rule for three experts, a function `rule(t)` that returns three weights with sum 1: from `t` = 500 on all three
# have the same weight, below 500 the first one speaks alone.
# %% tags=["solution"]
def rule(t):
    return [1 / 3, 1 / 3, 1 / 3] if t >= 500 else [1.0, 0.0, 0.0]


# %% tags=["stub"]
def rule(t):
    return ...  # your code here


# %% tags=["wrong"]
def rule(t):
    return [1 / 3, 1 / 3, 1 / 3] if t > 500 else [1.0, 0.0, 0.0]


# %% tags=["check"]
from course.checks import near

hint = "alike at 500 and above, the first alone below"
near([rule(t) for t in (999, 500)], [[1 / 3] * 3] * 2, hint)
near([rule(t) for t in (499, 0)], [[1.0, 0.0, 0.0]] * 2, hint)
print("Average(experts, rule) is a denoiser like any other: draw from it with sample")

# %% [markdown]
# ### Exercise 2. The noise that averaging takes away
# An ancestral step goes from the noise level $1 - \bar\alpha_t$ to $1 - \bar\alpha_s$ (`level` is $\bar\alpha_s$), and its
# fresh noise has the variance `fresh`, $\sigma^2$. The state before the step has the noise that the schedule says.
# Fill `left`: the standard deviation of the noise after the step, if the samples of `P` experts are averaged.
# %% tags=["given"]
(t, level), P = levels[len(levels) // 2], len(experts)
before = experts[0].schedule.alpha_bar[t].item()
fresh = (1 - level) / (1 - before) * (1 - before / level)
# %% tags=["solution"]
left = (1 - level - fresh + fresh / P) ** 0.5
# %% tags=["stub"]
left = ...  # your code here
# %% tags=["wrong"]
left = ((1 - level) / P) ** 0.5
# %% tags=["check"]
from course.checks import near

near(
    left,
    (1 - level - fresh * (1 - 1 / P)) ** 0.5,
    "only the fresh part differs between experts: variances add, and 1 / P of it stays",
)
print(f"{left:.3f} instead of {(1 - level) ** 0.5:.3f}")

# %% [markdown]
# ### Exercise 3. What a sample costs
# A 2D expert runs once for each slice of its plane, in every step. `X, Y, Z` are the numbers of voxels of this head, `S`
# is the number of steps. Fill `runs_of_2d` with three numbers: how many slices are denoised for one sample of the
# average of the axial and the sagittal expert in every step; of the average of all three; and of the axial and the
# sagittal expert in turn, with an even `S`.
# %% tags=["given"]
X, Y, Z = pair.x0.shape[1:]
S = 2 * experiment.preset.steps
# %% tags=["solution"]
runs_of_2d = [S * (Z + X), S * (X + Y + Z), S // 2 * (Z + X)]
# %% tags=["stub"]
runs_of_2d = [..., ..., ...]  # your code here
# %% tags=["wrong"]
runs_of_2d = [2 * S, 3 * S, S]
# %% tags=["check"]
from course.checks import near

near(runs_of_2d, [S * (X + Z), S * (X + Y + Z), S * (X + Z) / 2], "an axial slice is one Z: there are Z of them", 1e-6)

# %% [markdown]
# ### Exercise 4. Feature maps of MONAI's network
# `model` is MONAI's network. Its `up_blocks` run from the coarsest level to the finest, and the last of the `resnets` of
# a block puts out its feature maps. Fill `taps`, a list of modules, finest first, so that a fusion can read them.
# %% tags=["solution"]
taps = [block.resnets[-1] for block in reversed(model.up_blocks)]
# %% tags=["stub"]
taps = ...  # your code here
# %% tags=["wrong"]
taps = [block.resnets[-1] for block in model.up_blocks]
# %% tags=["check"]
from course.checks import answered, holds

answered(taps)
wanted = [block.resnets[-1] for block in model.up_blocks]
holds(
    isinstance(taps, list) and {*map(id, taps)} == {*map(id, wanted)}, "a list: of each block the last of its resnets"
)
holds(taps == wanted[::-1], f"finest first, so their channels must be {widths}")
tapped = Borrowed(model, channels, multiple=2 ** (len(widths) - 1), taps=taps)
print("a fusion can read feature maps of widths", *tapped.widths)

# %% [markdown]
# ### Exercise 5. Scores or samples
# Why is MADM's average of samples smoother than the average of scores?
#
# - a) It takes more steps.
# - b) Slabs are blurred.
# - c) What the samples do not share, fresh noise and detail, is averaged away in every step.
# - d) Its weights do not sum to 1.
#
# Fill `answer` with a letter in quotes.
# %% tags=["solution"]
answer = "c"
# %% tags=["stub"]
answer = ...  # your letter here
# %% tags=["wrong"]
answer = "b"
# %% tags=["check"]
from course.checks import choice

choice(answer, "c", "the 2D experts of TOSM show it as well as slabs do: what is different in each sample?")
