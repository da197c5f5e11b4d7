# %% [markdown]
# ### Exercise 1. One step of DDIM
# Make the first step of the walk by hand. From the starting `noise`, the clean estimate `x0_hat` after it, and
# $\bar\alpha$ before and after the step (`alpha_bar`, `after`), fill `x_next` [1, 1, X, Y, Z], the state after the step,
# for `sampler` `ddim`.
# %% tags=["given"]
first, second = timesteps(fusion.schedule, steps)[:2]
alpha_bar, after = (float(fusion.schedule.alpha_bar[t]) for t in (first, second))
x0_hat = states["fusion"][0].x0_hat
# %% tags=["solution"]
eps = (noise - alpha_bar**0.5 * x0_hat) / (1 - alpha_bar) ** 0.5
x_next = after**0.5 * x0_hat + (1 - after) ** 0.5 * eps
# %% tags=["stub"]
eps = ...  # the noise that the estimate implies
x_next = ...  # your code here
# %% tags=["wrong"]
eps = (noise - alpha_bar**0.5 * x0_hat) / (1 - alpha_bar) ** 0.5
x_next = alpha_bar**0.5 * x0_hat + (1 - alpha_bar) ** 0.5 * eps
# %% tags=["check"]
from course.checks import near

near(
    x_next, states["fusion"][0].xt, "the noise that x0_hat implies, added again to x0_hat, but at the next, lower level"
)

# %% [markdown]
# ### Exercise 2. Which times?
# The sampler takes evenly spaced times from the last one down, as in the pictures above (`times`, at 8 steps). Fill
# `times_4` with the four times of a walk of 4 steps through a schedule of 1000 (0 to 999).
# %% tags=["solution"]
times_4 = [999, 749, 499, 249]
# %% tags=["stub"]
times_4 = ...  # a list of four numbers
# %% tags=["wrong"]
times_4 = [750, 500, 250, 0]
# %% tags=["check"]
from course.checks import near
from diffens_core import Schedule

hint = "it starts at the last time, 999, and the last step still has as far to go as the others: compare `times`"
near(times_4, timesteps(Schedule(1000), 4), hint, tolerance=1e-6)

# %% [markdown]
# ### Exercise 3. Clamp first, or project first?
# `x` is an estimate that leaves [-1, 1] here and there. Clamp it (`clamp(-1, 1)`) and project it
# (`degradation.project(volume, measured)`), in both orders. Fill `off` with two numbers: how far the result is from what
# was measured (`degradation.rms(volume, measured)`) if it is clamped first, and if it is clamped last.
# %% tags=["given"]
degradation, measured = experiment.task(task).degradation, pair.y[None, :1]
x = pair.x0[None] + 0.3 * torch.randn(pair.x0[None].shape, generator=torch.Generator().manual_seed(seed))
# %% tags=["solution"]
clamped_first = degradation.project(x.clamp(-1, 1), measured)
clamped_last = degradation.project(x, measured).clamp(-1, 1)
off = [degradation.rms(clamped_first, measured), degradation.rms(clamped_last, measured)]
# %% tags=["stub"]
off = [..., ...]  # your code here
# %% tags=["wrong"]
clamped_first = degradation.project(x.clamp(-1, 1), measured)
clamped_last = degradation.project(x, measured).clamp(-1, 1)
off = [degradation.rms(clamped_last, measured), degradation.rms(clamped_first, measured)]
# %% tags=["check"]
from course.checks import near

last = degradation.rms(degradation.project(x, measured).clamp(-1, 1), measured)
near(off, [degradation.rms(degradation.project(x.clamp(-1, 1), measured), measured), last], "clamped first comes first")
print(f"clamped last, it is off by {last:.3f}: clamping changes block means that the projection had set right")

# %% [markdown]
# ### Exercise 4. Whom does the projection help?
# The projection costs nothing. Why does it help a model more that was trained for a short time?
#
# - a) It is only used in training.
# - b) The estimates of a model that was trained for long already agree with the measurement, nearly.
# - c) It sharpens what the measurement does not show.
# - d) It removes noise from the measurement.
#
# Fill `answer` with a letter in quotes.
# %% tags=["solution"]
answer = "b"
# %% tags=["stub"]
answer = ...  # your letter here
# %% tags=["wrong"]
answer = "c"
# %% tags=["check"]
from course.checks import choice

choice(answer, "b", "it changes block means and nothing else: whose block means are wrong?")
