# %% [markdown]
# ### Exercise 1. Eq. 6 by hand
# Given is one noisy state of a test head, with what the fusion says of it: the experts' predictions `eps_planes`
# [P, 1, 1, X, Y, Z], the gate `w` [1, P, X, Y, Z], the residual `r` [1, 1, X, Y, Z], and $\lambda$, `lam`. The residual
# is in the unit of the network's output; `unit` turns it into a change of `eps`. Fill `eps_hat` [1, 1, X, Y, Z].
# %% tags=["given"]
with torch.inference_mode():
    xt = fusion.schedule.add_noise(head.x0, noise, torch.tensor([times[-1]]))
    state = head.visit(fusion, xt, times[-1])
    parts = state.fused(fusion)
eps_planes, w, r, lam = parts.eps_planes, parts.gate, parts.resid, fusion.config.lam
unit = fusion.schedule.eps_per_output(fusion.prediction, state.xt, state.t)
# %% tags=["solution"]
eps_hat = sum(w[:, [p]] * eps_planes[p] for p in range(len(eps_planes))) + lam * unit * r
# %% tags=["stub"]
eps_hat = ...  # your code here
# %% tags=["wrong"]
eps_hat = sum(w[:, [p]] * eps_planes[p] for p in range(len(eps_planes))) + lam * r
# %% tags=["check"]
from course.checks import near

near(eps_hat, parts.eps, "the weighted sum of the planes' predictions, plus lam times unit times r", tolerance=1e-4)

# %% [markdown]
# ### Exercise 2. The gate alone
# How much of the gain is the gate's, and how much the residual's? Take the mean squared error, over all voxels, of the
# estimate that the sampler makes of a guess of the noise in the state of Exercise 1, `state.estimate(fusion, eps)`,
# against `head.x0`. Fill `fall` with two numbers: by how much it falls from the average of the planes to the gate alone
# ($\lambda = 0$), and from the average to the whole fusion. (The methods `ours-tpdm+gate-only` and
# `ours-tpdm+residual-only` are trained with one of the two alone.)
# %% tags=["solution"]
gated = (w.movedim(1, 0)[:, :, None] * eps_planes).sum(0)
guesses = [eps_planes.mean(0), gated, parts.eps]
errors = [float((state.estimate(fusion, eps) - head.x0).square().mean()) for eps in guesses]
fall = [errors[0] - errors[1], errors[0] - errors[2]]
# %% tags=["stub"]
fall = [..., ...]  # your code here
# %% tags=["wrong"]
guesses = [eps_planes.mean(0), parts.eps - lam * r, parts.eps]
errors = [float((state.estimate(fusion, eps) - head.x0).square().mean()) for eps in guesses]
fall = [errors[0] - errors[1], errors[0] - errors[2]]
# %% tags=["check"]
import numpy as np

from course.checks import answered, holds, near

answered(fall)
holds(np.shape(fall) == (2,), "two numbers")
found = []
for eps in (eps_planes.mean(0), parts.eps - lam * unit * r, parts.eps):
    found.append(float((state.estimate(fusion, eps) - head.x0).square().mean()))
near(fall[0], found[0] - found[1], "the gate alone is Eq. 6 without its last term; positive if the error falls")
near(fall[1], found[0] - found[2], "from the average to Eq. 6 as a whole; positive if the error falls")
print(
    f"of the fall of {found[0] - found[2]:.2e} the gate alone has {(found[0] - found[1]) / (found[0] - found[2]):.0%}"
)

# %% [markdown]
# ### Exercise 3. A gate that is worse than both
# At one voxel a weighted mean of two answers lies between them, so its error is never larger than that of the worse one.
# Over several voxels this is no longer so. The truth is 0 at two voxels, and two experts answer `experts` [2, 2] (expert,
# voxel). Fill `trust` with two weights of the first expert, one for each voxel, from 0 to 1, such that the mean squared
# error of the mixture is larger than that of each expert.
# %% tags=["given"]
import numpy as np

experts = np.array([[1.0, 0.0], [0.0, 1.0]])
# %% tags=["solution"]
trust = np.array([1.0, 0.0])
# %% tags=["stub"]
trust = ...  # your code here, such as np.array([0.5, 0.5])
# %% tags=["wrong"]
trust = np.array([1.0, 1.0])
# %% tags=["check"]
from course.checks import answered, holds

answered(trust)
holds(np.shape(trust) == (2,) and 0 <= np.min(trust) <= np.max(trust) <= 1, "two weights from 0 to 1, as an array")
mixed = trust * experts[0] + (1 - np.asarray(trust)) * experts[1]
holds(
    (mixed**2).mean() > (experts**2).mean(1).max() + 1e-6,
    "each expert is right at one voxel: whom must the gate trust there?",
)

# %% [markdown]
# ### Exercise 4. Why its own states?
# A fusion that is trained on true images with noise is worse at low noise when it samples. Why?
#
# - a) The true image shines through the noise: it has learnt to copy what it sees, and when it samples it sees its own
#   earlier errors.
# - b) At low noise nothing is left to do.
# - c) True images are too few.
# - d) The experts were trained on other noise levels.
#
# Fill `answer` with a letter in quotes. (`ours-tpdm+true-states` is a method that differs in nothing but this: set
# `method` to it and compare.)
# %% tags=["solution"]
answer = "a"
# %% tags=["stub"]
answer = ...  # your letter here
# %% tags=["wrong"]
answer = "c"
# %% tags=["check"]
from course.checks import choice

choice(answer, "a", "look again at the table of 'own' and 'true': where do they part, and what does xt hold there?")
