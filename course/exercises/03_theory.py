# %% [markdown]
# ### Exercise 1. The joint denoiser
# Write the best guess of the noise at $t = 400$ as a matrix: fill `joint` [N, N], so that $\mathbb{E}[\epsilon \mid
# x_t]$ is `joint @ xt.flatten()`. `volumes.cov` [N, N] is $\Sigma$, `eye` the unit matrix.
# %% tags=["given"]
alpha_bar, eye = analysis.schedule.alpha_bar[400], torch.eye(len(volumes.cov), dtype=torch.float64)
# %% tags=["solution"]
joint = (1 - alpha_bar).sqrt() * torch.linalg.inv(alpha_bar * volumes.cov + (1 - alpha_bar) * eye)
# %% tags=["stub"]
joint = ...  # your code here
# %% tags=["wrong"]
joint = (1 - alpha_bar).sqrt() * torch.linalg.inv(volumes.cov + (1 - alpha_bar) * eye)
# %% tags=["check"]
from course.checks import near

near(joint, analysis.joint.matrix(400), "the covariance of xt is alpha_bar Sigma + (1 - alpha_bar) I; mind the factor")

# %% [markdown]
# ### Exercise 2. Size and error
# The variance of `x0` is 1, and `size` is the root-mean-square size of the first plane's guess of `x0` at $t = 500$. A
# conditional mean and its error are uncorrelated. Fill `error`, the root-mean-square error of this guess, a number.
# %% tags=["given"]
eps_map, cov = analysis.experts[0].matrix(500), analysis.noisy_cov(500)
signal, noise_level = analysis.schedule.alpha_bar[500].sqrt(), (1 - analysis.schedule.alpha_bar[500]).sqrt()
guess_map = (torch.eye(len(cov), dtype=torch.float64) - noise_level * eps_map) / signal
size = float(((guess_map @ cov) * guess_map).sum() / len(cov)) ** 0.5
# %% tags=["solution"]
error = (1 - size**2) ** 0.5
# %% tags=["stub"]
error = ...  # your code here
# %% tags=["wrong"]
error = 1 - size
# %% tags=["check"]
from course.checks import near

excess = analysis.excess(500)
in_x0 = float(noise_level / signal)
near(error, in_x0 * (excess["least"] + excess[names[0]]) ** 0.5, "variances add: those of guess and error make 1")

# %% [markdown]
# ### Exercise 3. The best gate of two planes
# `gram` [N, 2, 2] holds $\mathbb{E}[d_p d_q]$ at every voxel at $t = 50$, where $d_p$ is how far plane $p$ is off the
# joint answer. With the weight $w$ for the first plane and $1 - w$ for the second, the expected squared distance is
# $w^2 g_{11} + 2 w (1 - w)\, g_{12} + (1 - w)^2 g_{22}$. Fill `w` [N] with the best weights within [0, 1].
# %% tags=["given"]
gram = analysis.gram(50)[:, :2, :2]
g11, g12, g22 = gram[:, 0, 0], gram[:, 0, 1], gram[:, 1, 1]
# %% tags=["solution"]
w = ((g22 - g12) / (g11 + g22 - 2 * g12)).clamp(0, 1)
# %% tags=["stub"]
w = ...  # your code here
# %% tags=["wrong"]
w = g22 / (g11 + g22)
# %% tags=["check"]
from course.checks import near

hint = "set the derivative by w to 0: the planes' errors are correlated, so g12 counts; then clamp to [0, 1]"
near(w, theory.best_gate(gram)[:, 0], hint, tolerance=1e-4)

# %% [markdown]
# ### Exercise 4. Fibres that lean
# Fibres may lean out of their planes by 0 degrees or by 45 instead of `tilt`. Predict how much of the average's excess
# at $t = 350$ the best voxelwise gate leaves, then compute it with `theory.fibres`, `theory.Analysis` and its method
# `excess`. Fill `left_at` with two numbers, for 0 and for 45 degrees.
# %% tags=["solution"]
excesses = [theory.Analysis(theory.fibres(shape, degrees), names).excess(350) for degrees in (0, 45)]
left_at = [excess["voxelwise gate"] / excess["average"] for excess in excesses]
# %% tags=["stub"]
left_at = ...  # your code here
# %% tags=["wrong"]
excesses = [theory.Analysis(theory.fibres(shape, degrees), names).excess(350) for degrees in (0, 45)]
left_at = [excess["voxelwise gate"] / excess["least"] for excess in excesses]
# %% tags=["check"]
from course.checks import near

shares = []
for degrees in (0, 45):
    excess = theory.Analysis(theory.fibres(shape, degrees), names).excess(350)
    shares.append(excess["voxelwise gate"] / excess["average"])
near(left_at, shares, "divide the excess of 'voxelwise gate' by that of 'average', once for each of the two tilts")

# %% [markdown]
# ### Exercise 5. Why the gate gains nothing at 45 degrees
# With the axial and the sagittal plane, at 45 degrees the gate leaves nearly all of the average's excess. Why?
#
# - a) The noise is too strong to see where fibres run.
# - b) The two planes give the same answer there, so weights change nothing.
# - c) A gate would need more training.
# - d) Fibres lie in neither plane: at every voxel both planes know equally much, so the best weights are nearly equal.
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

choice(
    answer,
    "d",
    "nothing is trained here; which plane holds a fibre that leans by 45 degrees, and so which has the smaller error?",
)
