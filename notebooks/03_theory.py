# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Why fuse? A world where every answer is known
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/03_theory.ipynb)
#
# Why is it not enough to average two good 2D models? What can a gate do, and what is the residual for? On brains one
# can only train and compare. Here the volumes are drawn from a Gaussian distribution. Then the *best possible* guess of
# the noise is a formula: for a model that sees the whole volume, for one that sees one slice, and for every way to
# fuse the two. All errors below are computed, not measured: no data, no training, no luck. Only the last part trains.
#
# **Goals.** Afterwards you can
# - write the best guess of a model that sees a slice as a conditional mean, and say why it is timid;
# - say what weights can and cannot repair, at high and at low noise, and what is left to a residual;
# - follow a small error of each step to what is wrong with the samples.
#
# **Before.** [`01_scores_in_1d`](01_scores_in_1d.ipynb): scores, DDIM.
# [`02_rows_and_columns`](02_rows_and_columns.ipynb): the idea in 2D. Gaussian distributions: conditional mean,
# covariance.
#
# **Papers.** TPDM, the average: [arXiv:2303.08440](https://arxiv.org/abs/2303.08440). Diff-Ensembler / Score-Fusion:
# [arXiv:2501.07430](https://arxiv.org/abs/2501.07430), whose numbers the equations have. DDIM:
# [arXiv:2010.02502](https://arxiv.org/abs/2010.02502). Frechet's distance of Gaussians, as FID:
# [arXiv:1706.08500](https://arxiv.org/abs/1706.08500).
#
# | preset | what runs | time | memory |
# |---|---|---|---|
# | `smoke` | volumes of 4 x 4 x 4 voxels, ten training steps: shows that it runs | half a minute of one core | 1 GB |
# | `demo` | volumes of 10 x 6 x 10 voxels | 1.5 minutes of one core | 1 GB |
# | `scan`, `gpu`, `paper` | the same with five times the training; needs no GPU | 3 minutes on one CPU core | 1 GB |

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke"}}
preset: str = "demo"  # smoke | demo | scan | gpu | paper: sizes only
planes: str = "axial,sagittal"  # which slices the 2D models see: two or three planes
tilt: float = 15.0  # degrees by which the fibres lean out of the planes, 0 to 45
seed: int = 0  # seed of the volumes shown and of the training
task: str = "sr"  # not used: there is nothing to translate
data: str = ""  # not used: the volumes are made here
runs: str = ""  # not used: nothing is kept

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from accelerate import Accelerator

from diffens_core import check_parameters, ddim, Fusion
from diffens_core.show import plots

from diffens_core.diffusion import gaussians as theory
from diffens_core.models.fusion import FusionConfig
from diffens_core.networks.unet import UNetConfig
from diffens_core.support.progress import follow
from diffens_core.training.loop import Phase, TrainConfig, train

# %%
check_parameters()
shape, ddim_steps = ((4, 4, 4), 10) if preset == "smoke" else ((10, 6, 10), 50)
training_steps = {"smoke": 10, "demo": 300}.get(preset, 1500)

# %% [markdown]
# ## The volumes
# X runs from left to right, Y from posterior to anterior, Z from inferior to superior. "Fibres": at the posterior end
# of the volume correlation reaches far along X, at the anterior end far along Z, and across the fibres it dies within a
# voxel or two. An axial slice (one Z) holds fibres along X and cuts those along Z; a sagittal slice (one X) does the
# opposite. And the fibres lean out of their planes by `tilt` degrees, so that no plane quite holds them. Shown are
# coronal slices, which **neither** model ever sees: the axial model sees one row of them at a time, the sagittal model
# one column.

# %%
names = planes.split(",")
volumes = theory.fibres(shape, tilt)
analysis = theory.Analysis(volumes, names)
generator = torch.Generator().manual_seed(seed)
draws = volumes.draw(5, generator)
places = {"posterior": (0, 0, 0), "anterior": (0, shape[1] - 1, 0)}
figure = plots.cuts({f"volume {k + 1}": draw[0].numpy() for k, draw in enumerate(draws)}, "coronal", places)

# %% [markdown]
# ## Three who look at the same noise
# With $x_0 \sim \mathcal N(0, \Sigma)$, where $\Sigma$ [N, N] has the covariances of the N voxels, the noisy volume
# (Eq. 1) is Gaussian too, and so are noise and volume together:
#
# $$\begin{gathered}
# x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon, \\[4pt]
# C = \operatorname{Cov} x_t = \bar\alpha_t \Sigma + (1 - \bar\alpha_t) I, \\[4pt]
# \operatorname{Cov}(\epsilon, x_t) = \sqrt{1 - \bar\alpha_t}\, I .
# \end{gathered}$$
#
# The conditional mean of a Gaussian is $\operatorname{Cov}(\epsilon, x_t)\, C^{-1} x_t$. It is the best guess of the
# noise, and it is linear:
#
# $$J_t x_t = \mathbb{E}[\epsilon \mid x_t] = \sqrt{1 - \bar\alpha_t}\; C^{-1} x_t$$
#
# This is the **joint** denoiser: what an ideal 3D model would answer. (The score is $-C^{-1} x_t$, and again
# $-\hat\epsilon / \sqrt{1 - \bar\alpha_t}$.)
#
# A perfect 2D model answers the same formula with the covariance of its slice alone. With $S$ for the voxels of the
# slice that $i$ lies in, and $C_{SS}$ for the rows and columns of $C$ that belong to it,
#
# $$\epsilon_p(x_t)_i = \mathbb{E}[\epsilon_i \mid x_{t,S}]
# = \sqrt{1 - \bar\alpha_t}\; \bigl( C_{SS}^{-1}\, x_{t,S} \bigr)_i .$$
#
# This is the best that *any* 2D model can do, however large, however long trained.
#
# **Predict first.** The posterior part has fibres along X, the rows of the pictures; the anterior part along Z, the
# columns. Which of the two guesses will be good where, and what will be wrong with the other? (Shown are clean
# estimates; *voxelwise gate*, the last column, is explained below.)

# %%
t = torch.tensor([400])
xt = analysis.schedule.add_noise(draws[:1], torch.randn(draws[:1].shape, generator=generator), t)
shown = {"x0": draws[0, 0].numpy(), "xt": xt[0, 0].numpy()}
for name, matrix in analysis.maps(400).items():
    eps = (matrix.float() @ xt.flatten()).reshape(xt.shape)
    shown[name] = analysis.schedule.x0_from_eps(eps, xt, t)[0, 0].numpy()
columns = ["x0", "xt", "joint", *names, "average", "voxelwise gate"]
figure = plots.cuts({name: shown[name] for name in columns}, "coronal", places)

# %% [markdown]
# Every row of the axial guess is made on its own, and so is every column of the sagittal one: across its slices each
# misses what the other sees.
#
# ## Every plane is too timid
# The guess of a plane is the mean of the joint guess over all that the plane does not see,
#
# $$\mathbb{E}[\epsilon \mid x_{t,S}] = \mathbb{E}\bigl[\, \mathbb{E}[\epsilon \mid x_t] \,\big|\, x_{t,S} \bigr],$$
#
# and the same holds for $x_0$. So it is the same thing, shrunken: where evidence is missing, the best bet is to stay
# near 0. The table gives the root-mean-square size of each guess of `x0` (the truth has size 1).
#
# **Predict first.** Is the average of the two guesses as large as each of them, larger, or smaller?

# %%
size, eye = {}, torch.eye(len(volumes.cov), dtype=torch.float64)
for step in (100, 300, 500, 700):
    signal, noise = analysis.schedule.alpha_bar[step].sqrt(), (1 - analysis.schedule.alpha_bar[step]).sqrt()
    guesses = {name: (eye - noise * matrix) / signal for name, matrix in analysis.maps(step).items()}
    cov = analysis.noisy_cov(step)
    size[f"t = {step}"] = {name: float(((g @ cov) * g).sum() / len(g)) ** 0.5 for name, g in guesses.items()}
pd.DataFrame(size).loc[["joint", *names, "average"]].style.format("{:.3f}")

# %% [markdown]
# The average of two timid guesses is more timid still: what only one plane knows is halved. Weights between 0 and 1
# cannot repair this. They can choose the bolder guess; they cannot go beyond both.
#
# ## How far off, at each noise level
# The expected squared error of a linear guess $L x_t$ exceeds that of the joint $J x_t$ by $\operatorname{tr}\,(L -
# J)\, C\, (L - J)^\top$, the *excess*: the error of a conditional mean is uncorrelated with all that is made of $x_t$,
# so squares add. Left: by how many per cent the root-mean-square error exceeds the least possible. (It is the same in
# `eps`, `v` and `x0`: the units differ by a factor that depends on `t` alone.) Right: how much of the average's excess
# is left.
#
# - **constant gate**: the best weights for this noise level, the same for all voxels;
# - **voxelwise gate**: the best weights for each voxel;
# - **any gate**: a bound. These weights may read everything, even the joint answer itself;
# - **sum - overlap**: no gate at all. Add what the planes know, subtract what both know (the lines where they meet).
#
# With $d_p = \epsilon_p - J_t x_t$ at voxel $i$, the best weights minimise $w^\top G_i\, w$ where
# $G_i = \mathbb{E}[d\, d^\top]$, with $w \ge 0$ and $\sum_p w_p = 1$: that is the voxelwise gate.
#
# **Predict first.** Where does a gate help more: at high noise, where guesses are poor, or at low noise?

# %%
levels = range(50, 1000, 100)
table = pd.DataFrame([analysis.excess(step) for step in levels], index=levels)
above = 100 * ((1 + table.drop(columns="least").div(table["least"], axis=0)) ** 0.5 - 1)
left = table.drop(columns=["least", *names]).div(table["average"], axis=0)
panels = {"error above the least possible, %": above, "share of the average's excess that is left": left}
figure = plots.level_curves(panels)

# %% [markdown]
# **High noise** (right side): one voxel says next to nothing, a guess needs the whole neighbourhood, and what both
# planes lack no weights bring back: the gate is nearly useless. (In per cent all errors vanish at last, since even the
# joint denoiser knows little of `x0` there.)
#
# **Low noise** (left side): near voxels suffice, most of them lie in the plane along the fibres, and choosing that
# plane helps most. A constant gate gains nothing here, since over the whole volume both planes are equally good: its
# line lies on the average's, and the two planes' lines lie on each other.
#
# ## What the gate finds
# The best weight of the first plane is high where the fibres lie in its slices and low where they pierce them.
#
# **Predict first.** Will the gate be more decided, nearer to 0 and 1, at low or at high noise?

# %%
grams = {step: analysis.gram(step) for step in (50, 350, 650)}
gates = {f"t = {step}": theory.best_gate(gram)[:, 0].reshape(shape).numpy() for step, gram in grams.items()}
figure = plots.gate_maps(gates, names[0])

# %% [markdown]
# At low noise: there a few near voxels decide, and they lie in one of the two planes. With more noise the guess needs a
# neighbourhood that both planes cut, and the best weights come nearer to 1/2.
#
# ## Why a residual is needed
# How often does the joint answer lie between the planes' answers at all? Only there can weights in [0, 1] reach it.
#
# **Predict first.** Two answers and a third that is better than both: how often does it lie between them?

# %%
for step, gram in grams.items():
    squared, within = theory.beyond_reach(gram)
    bound = float(squared.mean()) / float(gram.mean())
    print(f"t = {step}: within reach at {float(within.mean()):.0%} of the voxels;", end=" ")
    print(f"even the best weights leave {bound:.0%} of the average's excess")

# %% [markdown]
# At high noise one can count what is lost. There the joint guess uses every pair of voxels with its full correlation.
# A plane uses the pairs within its slices; so the average uses a pair with the share of the planes that see it, and a
# pair that no plane sees not at all. The sum with the overlap subtracted uses every pair that any plane sees in full.
# The error left is the sum of the squared correlations, each times its missing share squared.

# %%
from diffens_core.data.planes import PLANES

place = torch.cartesian_prod(*map(torch.arange, shape))
dims = [PLANES[name] - 2 for name in names]
seen = sum((place[:, None, dim] == place[:, dim]).int() for dim in dims)
weight = volumes.cov.square() * (1 - eye)
share = [float(weight[seen == k].sum() / weight.sum()) for k in range(len(names) + 1)]
for k, part in enumerate(share):
    print(f"pairs that {k} planes see hold {part:.0%} of the squared correlation")
missing = sum(part * (1 - k / len(names)) ** 2 for k, part in enumerate(share))
print(f"the average misses {missing:.0%} of it, the sum {share[0]:.0%}")
print(f"the sum leaves of the average's excess: by counting {share[0] / missing:.2f},", end=" ")
print(f"by the exact formula at t = {levels[-1]} {left['sum - overlap'].iloc[-1]:.2f}")

# %% [markdown]
# What no plane sees, no weights and no sum can bring back. It is in `xt`, and a network that reads `xt` in 3D can
# find it: that is the **residual**.
#
# ## From one step to a sample
# Ten per cent a step: does it matter? With a linear denoiser $\hat\epsilon = L_t x_t$ a step of DDIM from $t$ to $s$ is
# linear, too:
#
# $$x_s = \sqrt{\bar\alpha_s}\, \frac{x_t - \sqrt{1 - \bar\alpha_t}\, L_t x_t}{\sqrt{\bar\alpha_t}}
# + \sqrt{1 - \bar\alpha_s}\, L_t x_t .$$
#
# So a sample is $M x_T$ with the product $M$ of these maps, it is Gaussian, and its covariance is exactly $M M^\top$.
# *Variance* should be 1. *Correlation* is that of voxels two apart in the posterior half, along and across the fibres.
# *Distance* is Frechet's, per voxel, $\operatorname{tr}\bigl( \Sigma + \Sigma' - 2 (\Sigma^{1/2} \Sigma'
# \Sigma^{1/2})^{1/2} \bigr) / N$: FID is the same formula, of network features. The last rows use the average for a
# fifth of the noise levels, and the joint denoiser for all others.
#
# **Predict first.** At `demo` the average's error is at most 11 per cent above the least possible, in any step. How
# much of their variance will its samples lack: a tenth, a third, or nothing?

# %%
spans = {f"average at {a} to {a + 199}": range(a, a + 200) for a in range(0, 1000, 200)}
rules = {name: lambda t, span=span: "average" if t in span else "joint" for name, span in spans.items()}
samplers = analysis.samplers(ddim_steps, rules)
covs = {"truth": volumes.cov, **{name: matrix @ matrix.T for name, matrix in samplers.items()}}
half = torch.arange(len(eye)).reshape(shape)[:, : shape[1] // 2]
halves = {name: cov[half.flatten()][:, half.flatten()] for name, cov in covs.items()}
columns = {"variance": {name: float(cov.diagonal().mean()) for name, cov in covs.items()}}
for key, plane in (("along", "sagittal"), ("across", "axial")):
    columns[key] = {n: theory.correlation_by_lag(cov, half.shape, plane)[2] for n, cov in halves.items()}
columns["distance"] = {name: theory.frechet(volumes.cov, cov) for name, cov in covs.items()}
pd.DataFrame(columns).style.format("{:.3f}")

# %% [markdown]
# - The **joint** denoiser misses the truth only by its finite number of steps.
# - A **single plane** has the right variance and no correlation at all across its slices: it draws each on its own.
# - The **average** links the slices, but its timid steps add up: samples lack more than a third of their variance, and
#   half of the correlation along the fibres. Most is lost at middle noise; but at 600 to 799, where a step is off by 1
#   to 4 per cent only, it is still a seventh of the variance.
# - The **gate** restores what runs along the fibres, by giving up what runs across.
# - The **sum** has nearly the right variance and correlations within planes, though at most noise levels it keeps more
#   than half of the average's excess: the errors of its steps cancel along the way (exactly, where correlations are a
#   product over the axes). What no plane sees it lacks, hence its distance; and it needs a third model, of the overlap.
#
# (Numbers in the text are those of the default settings.) Samples from the same starting noise:

# %%
noise = torch.randn(len(eye), generator=generator, dtype=torch.float64)
shown = {name: (samplers[name] @ noise).reshape(shape).numpy() for name in analysis.maps(500)}
figure = plots.cuts(shown, "coronal", places)

# %% [markdown]
# ## A small network finds it
# The package's `Fusion` around the two exact plane denoisers, without feature maps, trained by the package's own loop
# with Eq. 5 (the squared error of the noise, weighted as `v`); it never sees the joint denoiser. Once with `lam = 0`:
# gate alone. Once with the residual, in a larger unit than on brains, since here it is large.
#
# **Predict first.** The bound *any gate* holds for whatever weights read. Can the trained fusion fall below it?

# %%
training = TrainConfig((Phase(training_steps, 16, 1e-2),), loss="v", ema=0.99, warmup=10, decay="cosine")
cpu, losses, learned = Accelerator(cpu=True), {}, {}
for name, lam in {"learned gate": 0.0, "learned fusion": 20.0}.items():
    torch.manual_seed(seed)
    net = UNetConfig(base=16, mult=(1,), blocks=1)
    learned[name] = Fusion(analysis.experts, 1, net, FusionConfig(lam=lam, features=False))
    options = {"noise_steps": analysis.schedule.steps, "seed": seed, "precision": "float32"}
    with TemporaryDirectory() as folder:
        steps = train(learned[name], volumes, training, Path(folder), accelerator=cpu, **options)
        losses[name] = [stats.loss for stats in follow(steps, f"training {name}", training_steps)]

# %% [markdown]
# The loss hardly shows what happens: most of it is the error that nobody can avoid.

# %%
in_v = table.div([float(analysis.schedule.alpha_bar[step]) for step in levels], axis=0).mean()  # eps, as v
for name in ("average", "voxelwise gate", "any gate"):
    print(f"exact loss of {name}: {in_v['least'] + in_v[name]:.3f}")
print(f"exact loss of joint: {in_v['least']:.3f}")
for name, loss in losses.items():
    last = loss[-len(loss) // 5 :]
    print(f"loss of {name}, mean of the last fifth of its training: {sum(last) / len(last):.3f}")

# %% [markdown]
# But against the joint answer, which we know, it shows. Points: the learned networks on fresh volumes.

# %%
found = {name: {} for name in learned}
for step in levels:
    x0, t = volumes.draw(32, generator), torch.full((32,), step)
    eps, y = torch.randn(x0.shape, generator=generator), torch.zeros_like(x0)
    xt = analysis.schedule.add_noise(x0, eps, t)
    for name, model in learned.items():
        with torch.inference_mode():
            found[name][step] = float((model(xt, y, t) - analysis.joint(xt, y, t)).square().mean())
found = pd.DataFrame(found)
marks = [100 * ((1 + found.div(table["least"], axis=0)) ** 0.5 - 1), found.div(table["average"], axis=0)]
figure = plots.level_curves(panels, dict(zip(panels, marks)))
figure.axes[1].set_ylim(-0.05, 1.6)
beyond = found.div(table["average"], axis=0).stack().loc[lambda share: share > 1.6]
shares = [f"{name} at t = {step}: {share:.1f}" for (step, name), share in beyond.items()]
print("beyond the right panel:", *(shares or ["nothing"]))

# %% [markdown]
# At `demo` the learned gate lies on the best voxelwise gate: it found it. (The ten steps of `smoke` find nothing yet.)
# (It may also vary with `xt` and come nearer to *any gate*; that takes longer to learn: try preset `gpu`.) At middle
# noise the learned fusion falls below what *any* gate can reach: only the residual can do that. At low noise it has
# learnt less of it: `v` weighs those levels little. At the highest noise it is worse than the average, but there the
# whole excess is a thousandth of the variance of `x0`, less than so short a training leaves to chance.
#
# At `demo` the gates agree with the best one, down to the rims; with the residual at hand the gate chooses more
# sharply.

# %%
step = torch.full((len(xt),), 350)
with torch.inference_mode():
    maps = {name: model.fuse(xt, y, step).gate[:, 0].mean(0).numpy() for name, model in learned.items()}
figure = plots.gate_maps({"best, t = 350": gates["t = 350"], **maps}, names[0])

# %% [markdown]
# Their samples, compared as above (estimates from 64 of each; the joint, average and gate are exact), and pictures from
# the same starting noise:

# %%
start = torch.randn(64, 1, *shape, generator=generator)
start[0] = noise.float().reshape(1, *shape)
for name, model in learned.items():
    with torch.inference_mode():
        *_, last = ddim(model, torch.zeros_like(start), start, ddim_steps, clamp=False)
    cov = last.x0_hat.flatten(1).double().T.cov(correction=0)
    covs[name], shown[name] = cov, last.x0_hat[0, 0].numpy()
    halves[name] = cov[half.flatten()][:, half.flatten()]
    columns["variance"][name] = float(cov.diagonal().mean())
    for key, plane in (("along", "sagittal"), ("across", "axial")):
        columns[key][name] = theory.correlation_by_lag(halves[name], half.shape, plane)[2]
rows = ["truth", "joint", "average", "voxelwise gate", *learned]
pd.DataFrame(columns).loc[rows, ["variance", "along", "across"]].style.format("{:.3f}")

# %%
figure = plots.cuts({name: shown[name] for name in rows[1:]}, "coronal", places)

# %% [markdown]
# ## What carries over to brains, and what does not
# - A 2D model's answer is a conditional mean given less: timid, in any distribution. Averages and gates stay timid.
# - Where anatomy makes one plane better, a gate finds it; what runs through all planes is left to the residual.
# - Brains are not Gaussian, and 2D models are not perfect: there a gate also serves to avoid a model's own errors.
# - Here nothing was measured. In super-resolution the condition already holds the coarse 3D shape, so that planes
#   disagree less: expect smaller gains than here.
#
# ## What to take away
# - A perfect 2D model is a conditional mean given less. Such a mean is timid, and an average of timid guesses more so.
# - Weights choose between answers. At low noise one plane is often right, and choosing helps; at high noise the answer
#   lies outside of what any weights can reach.
# - What no plane sees can only come from $x_t$ itself, in 3D: that is what the residual is for.
# - Ten per cent of excess error in each step becomes a third of the samples' variance and half of their correlation.
#
# ## Quiz
# 1. Why has a single plane's sample the right variance, and the average's not?
# 2. Both planes guess 0.2 and the joint answer is 0.5. Which weights in [0, 1] give it? Which residual?
# 3. Two planes are equally good on the whole. What does a constant gate gain, and what a voxelwise one?
# 4. Why do all errors vanish, in per cent of the least possible, at the highest noise?
# 5. What would change in the table of samples if the fibres were uncorrelated across X and Z in every part?
#
# <details><summary>Answers</summary>
#
# 1. It is the exact denoiser of another distribution, in which slices are independent and each is as it should be. The
#    average's estimates are too small in every step, and that adds up.
# 2. None. $\lambda r = 0.3$.
# 3. Nothing; much, where in each part one plane is the better one.
# 4. The least possible error is nearly the variance of what is to be guessed: even the joint denoiser knows little.
# 5. All rows would be those of the joint denoiser. What is left to see are lines along Y, and they lie in both planes;
#    no fusion could gain.
#
# </details>

# %% [markdown]
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
#
# Next: [`04_data`](04_data.ipynb), where brains take the place of Gaussian volumes: files, scale and measurement.
