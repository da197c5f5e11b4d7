# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Stage 1: a 2D diffusion model per plane
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/05_train_2d.ipynb)
#
# A diffusion model learns to undo noise. Here it learns it on slices, which are many and small, where volumes are few
# and large. The price shows at the end: slices that were made one by one do not fit together.
#
# **Goals.** Afterwards you can
# - add noise to a volume, say what the network is trained to predict, and turn `eps`, `v` and `x0` into one another;
# - say why this network predicts `v`, and by how much an error in `eps` would grow;
# - see and measure what a model of slices cannot know.
#
# **Before.** [`01_scores_in_1d`](01_scores_in_1d.ipynb): noise, scores and samplers where all is known.
# [`04_data`](04_data.ipynb): what goes in.
#
# **Papers.** DDPM: [arXiv:2006.11239](https://arxiv.org/abs/2006.11239). Palette, diffusion with conditions:
# [arXiv:2111.05826](https://arxiv.org/abs/2111.05826). `v`: [arXiv:2202.00512](https://arxiv.org/abs/2202.00512).
# Equations have the numbers of Diff-Ensembler / Score-Fusion, [arXiv:2501.07430](https://arxiv.org/abs/2501.07430).
#
# | preset | what runs | time | memory |
# |---|---|---|---|
# | `smoke` | two 2D models on 4 mm phantoms | a minute of one core | 1 GB |
# | `demo` | loads the trained models that come with the package; another `seed` trains: 1 minute each on one CPU core | half a minute of one core, once the phantoms are there | 2 GB |
# | `scan` | two 2D models at 1 mm, 3200 steps, of `mt` 9600 | half an hour each on one CPU core, of `mt` an hour and a half | 5 GB |
# | `gpu` | 1 mm, 18 M parameters, 8000 steps | 9 minutes each on an H200 (65 ms a step, measured) | 7 GB |
# | `paper` | Table 9's network, 500 000 steps | days | a card of 16 GB ([computed](../figures/results/memory.md)) |
#
# A training that was killed goes on from its last checkpoint when its cell is run again.

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke"}}
preset: str = "demo"  # smoke | demo | scan | gpu | paper
task: str = "sr"  # sr | mt | both, or a line such as t1->t2
method: str = "palette-axial"  # palette-axial | palette-sagittal | palette-coronal
seed: int = 0  # seed of training and sampling
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout

# %%
import pandas as pd
import torch

from diffens_core import build, check_parameters, heading, image_metrics, METRICS, open_experiment, roughness
from diffens_core.show import plots

check_parameters()
experiment = open_experiment(preset, seed, data, runs)
run = experiment.runs_of(method, task)[0]
pair = experiment.subjects("test", task)[0]

# %% [markdown]
# ## Forward: destroying a volume (Eq. 1)
# $$\begin{gathered}
# x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon, \\[4pt]
# \epsilon \sim \mathcal N(0, I), \qquad \bar\alpha_t = \prod_{s \le t} (1 - \beta_s)
# \end{gathered}$$
#
# $\beta$ grows linearly from $10^{-4}$ to $0.02$ over 1000 steps, so at step 0 this is nearly the target, and at step
# 999 nearly pure noise. One table of $\bar\alpha$ serves every network of a run.
#
# **Predict first.** Up to which `t` will you still see a brain: 100, 300, 500 or 999?

# %%
model = build(run)
eps = torch.randn(pair.x0.shape, generator=torch.Generator().manual_seed(seed))[None]
levels = {f"t = {t}": model.schedule.add_noise(pair.x0[None], eps, torch.tensor([t])) for t in (0, 100, 300, 500, 999)}
figure = plots.three_planes({name: xt[0, 0].numpy() for name, xt in levels.items()})

# %% [markdown]
# At 300 it can be seen (with the coarse voxels of `smoke` hardly), at 500 only guessed, if one knows where to look; at
# 999 nothing is left of it.
#
# ## What the network predicts
# The paper's network predicts the noise: given noisy slices and conditions it minimises (Eq. 2)
#
# $$\mathbb E_{x_0, y, t, \epsilon}\, \bigl\| \epsilon - \epsilon_\theta(x_t, y, t) \bigr\|^2 .$$
#
# Whoever knows $x_t$ and one of noise and target knows the other. So a network may as well predict the target, or a
# mixture of both, $v$:
#
# $$\begin{gathered}
# v = \sqrt{\bar\alpha_t}\, \epsilon - \sqrt{1 - \bar\alpha_t}\, x_0, \\[4pt]
# \hat x_0 = \sqrt{\bar\alpha_t}\, x_t - \sqrt{1 - \bar\alpha_t}\, v, \\[4pt]
# \hat\epsilon = \sqrt{\bar\alpha_t}\, v + \sqrt{1 - \bar\alpha_t}\, x_t .
# \end{gathered}$$
#
# What differs is what an error does. An error $\delta$ in $\epsilon$ is one of
# $\sqrt{(1 - \bar\alpha_t) / \bar\alpha_t}\, \delta$ in $\hat x_0$; an error $\delta$ in $v$ is one of
# $\sqrt{1 - \bar\alpha_t}\, \delta$.
#
# **Predict first.** A network errs by 0.01 in what it predicts, at step 999. How large is the error of its clean
# estimate if it predicts `eps`, and how large if it predicts `v`? (The volume spans -1 to 1.)

# %%
alpha_bar = model.schedule.alpha_bar[[0, 100, 300, 500, 700, 999]]
columns = {"signal": alpha_bar.sqrt(), "noise": (1 - alpha_bar).sqrt()}
columns |= {"error by eps": 0.01 * columns["noise"] / columns["signal"], "error by v": 0.01 * columns["noise"]}
pd.DataFrame(columns, index=pd.Index([0, 100, 300, 500, 700, 999], name="t")).style.format("{:.4f}")

# %% [markdown]
# By `eps` the estimate would be off by three quarters of the whole range, by `v` by a hundredth. After a short training
# errors are not small, and samples of a network that predicts `eps` look like noise: so `v` here, at all presets but
# `paper`.
#
# ## The network
# One U-Net serves 2D and 3D. It reads the noisy slice, the conditions, a brain mask and three coordinates, and it is
# told the noise level $t$.

# %%
count = sum(p.numel() for p in model.parameters())
print(f"{run.folder.name}: {count / 1e6:.2f} M parameters, widths {model.net.widths}, plane {model.plane}")
print(f"{run.train.steps} steps on batches of {run.train.phases[0].batch} slices {run.train.phases[0].crop}")

# %% [markdown]
# ## Train (Eqs. 2 and 3)
# Of a training volume the slice $k$ of one plane is drawn, uniformly, and $x_0$, $y$ and $\epsilon$ are cut there (Eq.
# 3):
#
# $$\begin{gathered}
# \mathcal L_{\text{axial}} = \mathbb E_{x_0, y, t, \epsilon, k}\,
# \bigl\| \epsilon[:, :, k] - \hat\epsilon_k \bigr\|^2, \\[4pt]
# \hat\epsilon_k = \epsilon_\theta(x_t[:, :, k],\, y[:, :, k],\, t),
# \end{gathered}$$
#
# and so for the other planes. At all presets but `paper` the loss is the squared error of the clean slice that `v`
# implies, $\| x_0 - \hat x_0 \|^2$, which is $(1 - \bar\alpha_t) / \bar\alpha_t$ times that of the noise. At little
# noise, where the clean slice is plain to see, it is small. Slices, noise and noise levels of step `s` depend on (seed,
# s) alone, so a resumed run is the run it would have been.
#
# At `smoke`, `demo` and `scan` the kernels of the convolutions are trained with Muon (`muon.py`), all else with Adam: a
# step of Muon has the same length in all directions of a kernel's matrix, where Adam's follows the few that dominate
# the gradient. At `demo` that saves two thirds of the steps. The presets `gpu` and `paper` have Adam alone.

# %%
expert = experiment.model(method, task)
figure = plots.training_curves({method: experiment.log(run)})

# %% [markdown]
# ## Sample
# Lifted to volumes, the model runs over all slices of its plane in each step, and its answers are stacked (Eq. 4):
#
# $$\begin{gathered}
# \epsilon_{\text{axial}}(x_t, y, t)[:, :, k] \qquad \\[4pt]
# \qquad = \epsilon_\theta(x_t[:, :, k],\, y[:, :, k],\, t) \quad \text{for all } k .
# \end{gathered}$$
#
# Beside it the expert (a model of one plane) of another plane, from the same starting noise, and the conditions:
# `flair_lr` is the degraded FLAIR, `flair_up` a spline through it.
#
# **Predict first.** In which of the three rows will each of them show lines, and which way do they run?

# %%
plane = model.plane
other = next(f"palette-{name}" for name in experiment.preset.planes if name != plane)
made = {method: experiment.translate(method, task, pair, model=expert)[0, 0].numpy()}
made[other] = experiment.translate(other, task, pair)[0, 0].numpy()
truth, brain = pair.x0[0].numpy(), pair.brain.numpy()
conditions = dict(zip(experiment.task(task).conditions, pair.y.numpy()))
views = {"truth": truth, **conditions, **made}
figure = plots.three_planes(views, truth, plots.middle(brain), f"{pair.subject}, preset {preset}")
found = pd.DataFrame({name: image_metrics(volume, truth, brain) for name, volume in made.items()}).T
found[[*METRICS]].rename(columns=heading).style.format("{:.3f}")

# %% [markdown]
# At `demo`: in its own plane each looks like a blurred brain. In the two others it shows lines, where its slices do not
# fit: the axial expert horizontal ones, plainest in the sagittal row, the sagittal expert vertical ones in the axial
# and the coronal row. Each is cleanest where the other has lines: that is what a fusion can live on. At `smoke`, after
# sixty steps, both samples are noise.
#
# ## Slices that do not know each other
# The mean absolute jump from one slice to the next, along each axis $a$ with its unit vector $e_a$, as a multiple of
# the truth's:
#
# $$\rho_a = \frac{\sum_{i \in \text{brain}} |\hat x_0[i] - \hat x_0[i - e_a]|}
# {\sum_{i \in \text{brain}} |x_0[i] - x_0[i - e_a]|}$$
#
# **Predict first.** Above 1 is rougher than the truth, below 1 smoother. Is an expert rougher than the truth along the
# axis that it slices?

# %%
axes = ("sagittal", "coronal", "axial")
jumps = {name: torch.tensor(roughness(volume, brain)) for name, volume in {"truth": truth, **made}.items()}
ratios = {name: (jumps[name] / jumps["truth"]).tolist() for name in made}
table = pd.DataFrame.from_dict(ratios, orient="index", columns=[f"between {name} slices" for name in axes])
table.style.format("{:.2f}")

# %% [markdown]
# At `demo` it is not: every number is below 1, as the samples are blurred, and lines do not make up for it. But each
# expert is rougher along its own axis than the other expert is there (0.60 against 0.54, 0.62 against 0.51): these are
# the lines. At `smoke` every number is far above 1, which is noise; the lines hide in the second digit.
#
# ## What to take away
# - Noise, target and `v` are one and the same knowledge; what differs is how errors grow, and `eps` is unforgiving at
#   high noise.
# - A slice model is trained on many small images, and run over all slices of its plane in each step.
# - It draws every slice on its own. What runs across slices it knows from the conditions alone, so it leaves lines.
# - Lines need not show as roughness above the truth's: a model that blurs is smoother everywhere, and least so across
#   its slices. Compare with another expert, not with the truth alone.
#
# ## Quiz
# 1. Derive $\hat x_0 = \sqrt{\bar\alpha_t}\, x_t - \sqrt{1 - \bar\alpha_t}\, v$ from Eq. 1.
# 2. At which noise levels is predicting `x0` a bad idea, if the sampler needs the noise?
# 3. Why may all networks of a run read one table of $\bar\alpha$ only?
# 4. The axial expert is given coordinates. Does this make neighbouring slices agree?
# 5. A sample is smoother than the truth from slice to slice. Is it consistent in 3D?
#
# <details><summary>Answers</summary>
#
# 1. With $s = \sqrt{\bar\alpha_t (1 - \bar\alpha_t)}$: $\sqrt{\bar\alpha_t}\, x_t = \bar\alpha_t x_0 + s\, \epsilon$ and
#    $\sqrt{1 - \bar\alpha_t}\, v = s\, \epsilon - (1 - \bar\alpha_t)\, x_0$. Their difference is $x_0$.
# 2. At low noise: $\hat\epsilon = (x_t - \sqrt{\bar\alpha_t}\, \hat x_0) / \sqrt{1 - \bar\alpha_t}$ divides by what is
#    small there.
# 3. A 3D network that fuses 2D ones shares their state $x_t$ and step $t$. With another table one of them would take
#    noise for signal.
# 4. No. It tells where the slice lies in the head, not what the neighbouring slice looks like.
# 5. Not by that. A blurred volume is smooth, and its slices may still be blurred each in its own way.
#
# </details>

# %% [markdown]
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
#
# Next: [`06_train_fusion`](06_train_fusion.ipynb), where a 3D network reads two such models and corrects both.
