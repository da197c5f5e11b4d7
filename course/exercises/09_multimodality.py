# %% [markdown]
# ### Exercise 1. A third source
# A T2 comes along, with two experts of its own that were trained on it alone. All three sources are to be fused. What
# has to be trained again?
#
# - a) All experts, on all three conditions.
# - b) The fusion alone.
# - c) Nothing.
# - d) The experts of the T1ce.
#
# Fill `answer` with a letter in quotes.
# %% tags=["solution"]
answer = "b"
# %% tags=["stub"]
answer = ...  # your letter here
# %% tags=["wrong"]
answer = "a"
# %% tags=["check"]
from course.checks import choice

choice(answer, "b", "what do the experts know of each other, and who reads all of them?")


# %% [markdown]
# ### Exercise 2. Who speaks when
# Write a rule for `Average` of the four experts, a function `rule(t)` that returns four weights with sum 1: from `t` =
# 500 on the experts of translation (`mt`) alone, half each, below 500 those of super-resolution (`sr`) alone. The order
# of the experts is that of `names`.
# %% tags=["solution"]
def rule(t):
    return [0.0, 0.0, 0.5, 0.5] if t >= 500 else [0.5, 0.5, 0.0, 0.0]


# %% tags=["stub"]
def rule(t):
    return ...  # your code here


# %% tags=["wrong"]
def rule(t):
    return [0.5, 0.5, 0.0, 0.0] if t >= 500 else [0.0, 0.0, 0.5, 0.5]


# %% tags=["check"]
from course.checks import near

at_both = [[0.5 * name.startswith(kind) for name in names] for kind in ("mt", "sr")]
near([rule(999), rule(0)], at_both, "look at names: which of the four are experts of mt?")
near([rule(500), rule(499)], at_both, "from 500 on is 500 and above")
print("with Average(list(model.experts), rule), sample and score it can be compared with multi-tpdm")

# %% [markdown]
# ### Exercise 3. Somebody else's T1ce
# Does the fusion notice if the T1ce is another head's? `other` holds the conditions of another test head. Fill `swapped`
# [1, C, X, Y, Z]: the conditions `y` of this head, with the T1ce of the other one. `y` itself must stay as it is.
# %% tags=["given"]
other = experiment.subjects("test", task)[1].y[None].to(y)
channel = list(conditions).index("t1ce")
# %% tags=["solution"]
swapped = y.clone()
swapped[:, channel] = other[:, channel]
# %% tags=["stub"]
swapped = ...  # your code here
# %% tags=["wrong"]
swapped = other
# %% tags=["check"]
from course.checks import answered, holds, near

answered(swapped)
holds(getattr(swapped, "shape", None) == y.shape, "a tensor of the shape of y")
kept = [c for c in range(y.shape[1]) if c != channel]
near(swapped[:, kept], pair.y[None][:, kept], "all other conditions are those of this head")
near(swapped[:, channel], other[:, channel], "the T1ce is the other head's")
near(y, pair.y[None], "y itself has changed: make a copy first (clone), and run the notebook's cells that make y again")
with torch.inference_mode():
    moved = [model.fuse(xt, known, t).gate[:, :, pair.brain] for known in (y, swapped)]
print(f"weights within the brain change by {float((moved[1] - moved[0]).abs().mean()):.3f} on average")

# %% [markdown]
# ### Exercise 4. One scale for all
# Why could the four not be fused if the targets of `mt` were scaled by their own range, and those of `sr` by the degraded
# FLAIR's?
#
# - a) The T1ce would be too bright.
# - b) Each would be trained for other noise levels.
# - c) The networks would have other widths.
# - d) One state `xt` would mean two different images: the noise that one expert sees in it would not be the other's.
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

choice(answer, "d", "all experts read the same xt, and eps = (xt - signal x0) / noise: whose x0?")
