# %% [markdown]
# ### Exercise 1. To v and back
# At $t = 300$ fill `v` $= \sqrt{\bar\alpha_t}\, \epsilon - \sqrt{1 - \bar\alpha_t}\, x_0$, and from `v` and `xt` alone
# `x0_back`, the clean estimate; both [1, 1, X, Y, Z]. The given `signal` and `noise` are the two roots.
# %% tags=["given"]
t, x0 = torch.tensor([300]), pair.x0[None]
signal, noise = model.schedule.signal_and_noise(t, x0)
xt = signal * x0 + noise * eps
# %% tags=["solution"]
v = signal * eps - noise * x0
x0_back = signal * xt - noise * v
# %% tags=["stub"]
v = ...  # your code here
x0_back = ...  # from v and xt alone
# %% tags=["wrong"]
v = signal * eps - noise * x0
x0_back = (xt - noise * v) / signal
# %% tags=["check"]
from course.checks import answered, near

answered(v, x0_back)
near(v, model.schedule.prediction_from("v", eps, xt, t), "v mixes noise and target, with the other's root each")
near(x0_back, x0, "xt and v are x0 and eps turned by an angle: turn back, with signal xt - noise v")

# %% [markdown]
# ### Exercise 2. Why not predict the noise?
# At $t = 999$ a network is off by 0.01 at every voxel. How far off is the clean estimate, if the network predicts `eps`,
# and if it predicts `v`? Fill `off` with two positive numbers, from `signal` and `noise`.
# %% tags=["given"]
alpha_bar = float(model.schedule.alpha_bar[999])
signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
# %% tags=["solution"]
off = [0.01 * noise / signal, 0.01 * noise]
# %% tags=["stub"]
off = [..., ...]  # your code here
# %% tags=["wrong"]
off = [0.01, 0.01]
# %% tags=["check"]
import numpy as np

from course.checks import answered, holds, near

answered(off)
holds(np.shape(off) == (2,), "two numbers")
near(off[0], 0.01 * noise / signal, "x0 = (xt - noise eps) / signal: what does an error of eps become?", 1e-6)
near(off[1], 0.01 * noise, "x0 = signal xt - noise v: what does an error of v become?", 1e-6)

# %% [markdown]
# ### Exercise 3. Slices that do not know each other
# Make of the truth a volume whose axial slices do not fit together: add to each axial slice a constant of its own, drawn
# from a normal distribution with standard deviation 0.1. Fill `loose` [X, Y, Z]. Predict before the check: along which
# axis does it get rougher?
# %% tags=["given"]
import numpy as np

draw = np.random.default_rng(seed)
# %% tags=["solution"]
loose = truth + 0.1 * draw.standard_normal((1, 1, truth.shape[2]))
# %% tags=["stub"]
loose = ...  # your code here
# %% tags=["wrong"]
loose = truth + 0.1 * draw.standard_normal((truth.shape[0], 1, 1))
# %% tags=["check"]
from course.checks import answered, holds, near

answered(loose)
holds(np.shape(loose) == truth.shape, "a volume [X, Y, Z]: the truth, and what is added to it")
near(
    np.ptp(loose - truth, axis=(0, 1)), np.zeros(truth.shape[2]), "within an axial slice (one Z) the change is the same"
)
shift = (loose - truth)[0, 0]
holds(0.05 < shift.std() < 0.2, "the constants have the standard deviation 0.1")
holds(len(np.unique(shift)) == len(shift), "each slice has another constant")
rougher = np.divide(roughness(loose, brain), roughness(truth, brain))
print("rougher along X, Y, Z by a factor of", *(f"{ratio:.2f}" for ratio in rougher))

# %% [markdown]
# ### Exercise 4. Deterministic, and yet different
# DDIM adds no noise on its way (`eta = 0`). Why do two samples of one patient still differ?
#
# - a) Rounding errors grow from step to step.
# - b) Each starts from another noise.
# - c) The network has dropout.
# - d) The weights are averaged over the training.
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

choice(answer, "b", "with the same seed and subject the samples would be the same: what does the seed decide?")
