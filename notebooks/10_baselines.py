# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What else can be done with the same data
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/10_baselines.ipynb)
#
# A method is only as good as what it is compared with. Here are the other ways from the same conditions to the same
# target, each with a network of the same family and, at the presets `smoke` and `demo`, a short training.
#
# **Goals.** Afterwards you can
# - say what each kind of model minimises, and so what it answers where it is unsure;
# - compare a regression with a sample fairly, and quality with cost;
# - tell smooth from right, and sharp from right.
#
# **Before.** [`05_train_2d`](05_train_2d.ipynb) to [`08_experts_and_averages`](08_experts_and_averages.ipynb).
#
# **Papers.** pix2pix: [arXiv:1611.07004](https://arxiv.org/abs/1611.07004). I2SB:
# [arXiv:2302.05872](https://arxiv.org/abs/2302.05872). Perception against distortion:
# [arXiv:1711.06077](https://arxiv.org/abs/1711.06077). Those of the 3D systems are in the table.
#
# | name | idea | what it minimises | answer |
# |---|---|---|---|
# | `cubic`, `cubic-projected` | a spline through the measured block means; then corrected to them | nothing | one |
# | `unet-2d`, `unet-3d` | a U-Net says the target at once, slice by slice or in 3D | squared error | one |
# | `pix2pix-2d`, `pix2pix-3d` | the U-Net must also convince a discriminator of patches | absolute error, and the discriminator | one |
# | `palette-3d` | one 3D diffusion model instead of fused 2D ones (Med-DDPM) | squared error at every noise level | samples |
# | `wavelet-3d` | the same on whole volumes, as eight wavelet bands of half the size ([cWDM](https://arxiv.org/abs/2411.17203)) | the same, of the bands | samples |
# | `latent-3d` | the same on a 3D autoencoder's latents ([LDM](https://arxiv.org/abs/2112.10752)), both by [MONAI](https://arxiv.org/abs/2307.15208)'s networks | the same, of the latents | samples |
# | `i2sb` | a diffusion that starts at the blurred image, not at noise | squared error at every step of a bridge | samples |
# | `i2sb-ode` | the same bridge without any noise (`ot-ode`) | the same | one |
#
# What was measured is projected onto for all but `cubic`: in every step of those that have steps, else at the end.
#
# | preset | what is trained | time | memory |
# |---|---|---|---|
# | `smoke` | everything, on 4 mm phantoms: shows that it runs, not which method is better | 1.5 minutes of one core | 1.5 GB |
# | `demo` | `unet-2d` and `i2sb` are trained, a minute each on one CPU core, as are others that are added to `methods`, 1 to 2 minutes each; the rest comes with the package for `seed` 0 and task `sr` | 4.5 minutes of one core, once the phantoms are there | 2 GB |
# | `scan` | all of it at 1 mm | hours of one CPU core | 11 GB |
# | `gpu` | all of it, 1 mm | hours on a data-centre GPU | a card of 16 GB ([computed](../figures/results/memory.md)) |
# | `paper` | the settings of each method's own paper where it has some | weeks | a card of 24 GB (computed) |

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke", "methods": "cubic,unet-2d,unet-3d,pix2pix-2d,pix2pix-3d,palette-3d,wavelet-3d,latent-3d,i2sb,i2sb-ode"}}
preset: str = "demo"  # smoke | demo | scan | gpu | paper
task: str = "sr"  # sr | mt | both, or a line such as t1->t2
methods: str = "cubic,cubic-projected,unet-2d,pix2pix-2d,pix2pix-3d,i2sb,tpdm,ours-tpdm"  # more: the table above
subjects: int = 1  # how many held-out subjects to score; 0: all
samples: int = 3  # samples of the methods that draw some
seed: int = 0  # seed of training and sampling
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
out: str = ""  # where the reports go; empty: figures/out/<preset>/10_baselines

# %%
import numpy as np
import pandas as pd
import torch

from diffens_core import check_parameters, METHODS, open_experiment
from diffens_core.show import plots

check_parameters()
experiment = open_experiment(preset, seed, data, runs)
able = {name for name, method in METHODS.items() if method.does(experiment.task(task))}  # mt has nothing to interpolate
chosen = [name for name in methods.split(",") if name in able or name not in METHODS]
pair = experiment.subjects("test", task)[0]

# %% [markdown]
# ## Regression: the mean of what is possible
# One condition fits many targets. Squared error is least for their *mean*, which need not be one of them:
#
# $$\begin{gathered}
# \arg\min_f \mathbb E\, \| x_0 - f(y) \|^2 = \mathbb E[x_0 \mid y], \\[4pt]
# \mathbb E\, \| x_0 - \mathbb E[x_0 \mid y] \|^2 = V, \\[4pt]
# \mathbb E\, \| x_0 - x_0' \|^2 = 2 V
# \end{gathered}$$
#
# for a sample $x_0'$ that is drawn from the same distribution as the truth and independent of it, given $y$.
#
# **Predict first.** Say a voxel is dark (-1) in three of ten plausible targets and bright (+1) in seven. Which one
# answer has the least squared error, and which the least absolute error?

# %%
guesses = np.linspace(-1, 1, 201)
risk = 0.3 * (guesses + 1) ** 2 + 0.7 * (guesses - 1) ** 2
absolute = 0.3 * abs(guesses + 1) + 0.7 * abs(guesses - 1)
print(f"least squared error: {guesses[risk.argmin()]:+.2f}, the mean")
print(f"least absolute error: {guesses[absolute.argmin()]:+.2f}, the median")
print("a sample: -1 three times in ten, +1 seven times")

# %% [markdown]
# The mean is grey: regression is smooth wherever it is unsure, and good in PSNR for that very reason. A sample is sharp
# and, where it is unsure, sometimes wrong: even a perfect one has twice the expected squared error of the mean, 3 dB.
# So compare `unet` with the *mean* of a diffusion model's samples, not with one of them.
#
# (Three steps of sampling, as at `demo`, draw samples that lie near their mean: there the mean of three gains
# [0.1 to 0.2 dB](../figures/results.md#in-detail-seed-0) on `sr`, not the 1.8 that it would of perfect ones.)
#
# ## pix2pix: two players
# The discriminator sees a condition with a target and gives each patch a logit: above 0 means true. It is paid for
# telling true from made, the generator for being taken for true, plus 100 times the absolute error, so that its
# targets also fit. With $D$ for the probability that the discriminator gives a patch of being true,
#
# $$\begin{gathered}
# \mathcal L_G = \mathbb E\bigl[ -\log D(y, G(y)) \bigr] + 100\; \mathbb E\, | x_0 - G(y) |, \\[4pt]
# \mathcal L_D = \mathbb E\bigl[ -\log D(y, x_0) - \log (1 - D(y, G(y))) \bigr] .
# \end{gathered}$$
#
# **Predict first.** A made patch convinces. Whose loss is small, and whose large? The table has both, for the logit of
# a *made* patch:

# %%
logit = torch.tensor([-3.0, 0.0, 3.0])
made, true = torch.zeros(3), torch.ones(3)
entropy = torch.nn.functional.binary_cross_entropy_with_logits
losses = {
    "generator: says -log D(made)": entropy(logit, true, reduction="none"),
    "discriminator: says -log(1 - D(made))": entropy(logit, made, reduction="none"),
}
columns = ["seen through (-3)", "undecided (0)", "convincing (+3)"]
losses = {name: loss.numpy() for name, loss in losses.items()}
pd.DataFrame(losses, index=columns).T.style.format("{:.2f}")

# %% [markdown]
# What raises the one lowers the other; each has its own optimiser and only its own parameters move. Neither loss is
# meant to fall for ever: look at the images, not at the curve. Detail that convinces need not be the detail that was
# there, and with one answer a condition it cannot show what it is unsure of.
#
# ## Bridges: from the blurred image instead of from noise
# Diffusion forgets the target into noise. I2SB walks between the target `x0` and the blurred image `x1`: the state at
# step t is a mixture of both, plus noise that is zero at either end. With $\sigma_t^2$ for the variance of all noise
# between 0 and t, and $\bar\sigma_t^2$ for that between t and the end,
#
# $$x_t = \frac{\bar\sigma_t^2\, x_0 + \sigma_t^2\, x_1}{\sigma_t^2 + \bar\sigma_t^2}
# + \frac{\sigma_t\, \bar\sigma_t}{\sqrt{\sigma_t^2 + \bar\sigma_t^2}}\; \epsilon .$$
#
# The network learns to say `x0` from any state, and sampling walks back from `x1`. `ot-ode` leaves the noise out: a
# straight path, one answer.
#
# **Predict first.** The pictures go from t = 0 on the left to the last step on the right (the curves below them go back,
# as sampling does). In which rows is there still a brain at the end?

# %%
from diffens_core.models.i2sb import BridgeSchedule

diffusion = experiment.preset.diffusion
schedule, bridge = diffusion.schedule, BridgeSchedule(diffusion.steps)
nearest = experiment.task(task).nearest
x0, x1 = pair.x0[None], pair.y[None, nearest : nearest + 1]
noise, rows = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)), {}
for t in (0, bridge.steps // 4, bridge.steps // 2, 3 * bridge.steps // 4, bridge.steps - 1):
    at_t = torch.tensor([t])
    states = {"diffusion": schedule.add_noise(x0, noise, at_t)}
    states |= {"i2sb": bridge.between(x0, x1, at_t, noise)}
    states |= {"i2sb-ode": bridge.between(x0, x1, at_t, None)}
    for name, state in states.items():
        rows.setdefault(name, {})[f"t = {t}"] = state[0, 0].numpy()
figure = plots.image_rows(rows, "axial", plots.middle(pair.brain.numpy()))

# %%
times = list(range(0, bridge.steps, bridge.steps // 20))
total = (bridge.sigma**2 + bridge.sigma_bar**2)[times]
shares = {
    "diffusion: noise": (1 - schedule.alpha_bar[times]).sqrt(),
    "i2sb: noise": bridge.sigma[times] * bridge.sigma_bar[times] / total.sqrt(),
    "both bridges: share of x1": bridge.sigma[times] ** 2 / total,
}
figure = plots.step_curves(shares, times, "standard deviation, or share")

# %% [markdown]
# In both rows of the bridges, and it is the blurred one; of the diffusion nothing is left. The bridge needs `x1` to be
# a rough target: for `sr` and `both` it is the interpolation, for `mt` the T1ce itself, which is a picture of the same
# head in another contrast.
#
# ## Palette-3D: why not 3D from the start?
# A 3D diffusion model knows what lies between slices. But a volume is one example where it holds a hundred slices,
# its feature maps are a hundred times larger, and it is trained on crops to fit at all. 2D experts avoid this price.
#
# Two other systems of the same job make the volume smaller first. `wavelet-3d` sorts its numbers into eight bands of
# half the size: the mean of every 2x2x2 block, and seven kinds of differences within it. Nothing is lost, so every
# clean estimate can be turned back into an image, corrected to the measurement, and diffused further. `latent-3d` has
# an autoencoder find fewer numbers: cheaper where it halves the volume several times, but what its latents cannot hold
# is gone before the diffusion begins. Neither comes with weights, and at `demo` they take [8 and 6
# minutes](../figures/results/all_methods.md#wavelets-and-3d-latents) of one core to train: add their names to
# `methods`. The bands of this head (0: the means; 1, 2, 4: differences along X, Y, Z; 7: along all):

# %%
from diffens_core.models.wavelet import to_bands, to_volume

bands = to_bands(pair.x0[None])
error = (to_volume(bands, pair.x0[None]) - pair.x0).abs().max()
print(f"{tuple(pair.x0.shape)} voxels as {tuple(bands[0].shape)} numbers in bands; there and back: {error:.1e} off")
rows = {"flair": {f"band {k}": bands[0, k].numpy() for k in (0, 1, 2, 4, 7)}}
figure = plots.image_rows(rows, "axial", [n // 2 for n in plots.middle(pair.brain.numpy())])

# %% [markdown]
# ## Train and score
# Every method by the same call: train what is missing, translate, score, and note what it took. On the command line:
# `diffens evaluate unet-3d --task sr`.

# %%
from pathlib import Path

from diffens_core import Samples, evaluate

folder = Path(out) if out else experiment.out / "10_baselines"
options, reports = {"split": "test", "subjects": subjects, "samples": samples}, {}
for name in chosen:
    reports[name] = evaluate(experiment, name, task, out=folder / f"{name}-{task}", **options)

# %% [markdown]
# The training curves. Each kind of model minimises something else, so heights can be compared within a panel only.

# %%
labels = {"regression": "squared error", "pix2pix": "both players together"}
labels |= {"volume": "squared error, any noise", "bridge": "squared error, any step"}
labels |= {"wavelet": "squared error of bands", "latent-3d": "squared error of latents"}
logs = {}
for name in chosen:
    for run in experiment.runs_of(name, task):
        if run.stage in labels:
            logs.setdefault(labels[run.stage], {})[name] = experiment.log(run)
figure = plots.loss_panels(logs) if logs else None

# %% [markdown]
# ## Quality and cost in one table
# PSNR in decibels. Training seconds and parameters are those of all networks behind a method; memory is the peak in
# GiB of the largest training (on a CPU that of the whole process, with Python and the data). Weights that come with the
# package bring those of their own training along. A discriminator counts as parameters, though only training needs it.
#
# **Predict first.** Put `cubic-projected`, `unet-2d`, `pix2pix-3d`, `i2sb` and `ours-tpdm` in the order of their PSNR,
# and then in that of their time.

# %%
from diffens_core import heading, results_table

metrics = pd.concat([found for found, _ in reports.values()])
table = results_table(metrics, chosen).drop(columns=["ssim_brain"], level=1)
costs = pd.DataFrame({name: cost for name, (_, cost) in reports.items()}).T
costs = costs.reindex(columns=["seconds", "parameters", "memory", "sampling"])
costs.columns = ["training, s", "parameters", "memory, GiB", "a sample, s"]
table.columns = [f"{heading(m)}{'' if kind == 'single sample' else f', {kind}'}" for kind, m in table.columns]
formats = dict.fromkeys(table, "{:.3f}") | dict.fromkeys(costs, "{:.2f}")
formats |= {"training, s": "{:,.0f}", "parameters": "{:,.0f}"}
table.join(costs).style.format(formats, na_rep="")

# %% [markdown]
# At `demo`, on `sr` and over six phantoms ([all methods](../figures/results/all_methods.md#all-methods)): `ours-tpdm`
# 25.3 dB after twelve minutes of training, `unet-3d` 24.9 and `unet-2d` 24.8 after two and one, `tpdm` 24.6 after two,
# `palette-3d` 23.8, `i2sb` 23.7, and `pix2pix` 22.8 to 22.9 after five or six, level with `cubic-projected`, which
# takes none. One subject, as here, can differ by half a decibel. The order is not one at equal cost: with twelve
# minutes `unet-2d` and `unet-3d` are ahead of `ours-tpdm`, by 0.3 and 0.1 dB on twelve others ([equal
# cost](../figures/results.md#equal-cost)). At `smoke` no order means anything.
#
# ## In three planes
# First the methods with one answer, then those that draw samples.

# %%
volumes = {name: Samples(experiment, name, task).of(pair, samples).numpy()[:, 0] for name in chosen}
truth, brain = pair.x0[0].numpy(), pair.brain.numpy()
one = [name for name in chosen if len(volumes[name]) == 1]
shown = {"truth": truth, **{name: volumes[name][0] for name in one}}
at, title = plots.middle(brain), f"{pair.subject}, preset {preset}"
figure = plots.three_planes(shown, truth, at, f"{title}: one answer")

# %%
shown = {"truth": truth}
for name in [name for name in chosen if name not in one]:
    shown[f"{name}\nsample"] = volumes[name][0]
    shown[f"{name}\nmean of {samples}"] = volumes[name].mean(0)
figure = plots.three_planes(shown, truth, at, f"{title}: samples")

# %% [markdown]
# ## Smooth, sharp, sure
# Two numbers that PSNR does not show, within the brain. *Jumps*: the mean absolute difference of neighbouring voxels,
# as a share of the truth's. Below 1 is smoother than the truth; above 1 is rougher: noise, stripes between slices, or
# invented detail. *Spread*: the standard deviation over samples; a method with one answer has none, and says nothing
# about how sure it is.
#
# **Predict first.** Which methods will have jumps above 1, and on which side of 1 is a regression?

# %%
from diffens_core import roughness

true = np.mean(roughness(truth, brain))
jumps = {n: np.mean(roughness(v[0], brain)) / true for n, v in volumes.items()}
means = {n: np.mean(roughness(v.mean(0), brain)) / true for n, v in volumes.items() if len(v) > 1}
spread = {n: v.std(0, ddof=1)[brain].mean() for n, v in volumes.items() if len(v) > 1}
columns = {"jumps, one": jumps, "jumps, mean of samples": means, "spread": spread}
pd.DataFrame(columns).loc[chosen].style.format("{:.3f}", na_rep="")

# %% [markdown]
# How to read it, and what of it is seen at which preset:
#
# - **Smooth is cheap.** A spline and a regression are smooth where they are unsure: a high PSNR with jumps far below 1
#   is that, not detail. At `smoke` both have about 0.4. At `demo` samples of `tpdm` and `ours-tpdm` are smooth, too,
#   with about 0.5: three steps, small networks.
# - **Rough is not sharp.** At `smoke` samples of `palette-3d` and `tpdm` have more than 3: noise that a short training
#   leaves.
# - **Sharp is not right.** A GAN is rewarded for looking true. Compare its error maps with those of the U-Net: detail
#   in a wrong place costs twice, where it is and where it should be.
# - **2D methods make each slice alone.** Those here slice axially: look for horizontal lines in the coronal and
#   sagittal cuts. Jumps that are averaged over axes, as here, need not show them ([`05_train_2d`](05_train_2d.ipynb)).
# - **A mean of samples** is nearer to the truth in PSNR than its samples are on average, and smoother where they
#   differ.
# - **Steps cost.** One pass for `unet` and `pix2pix`; one a step, and in ensembles one an expert, for all others.
#
# ## What to take away
# - What a model minimises decides what it answers where it is unsure: the mean, the median, something that looks true,
#   or a sample.
# - A sample costs up to 3 dB of PSNR against the mean, and that is no fault of it. Compare single with single, mean
#   with mean.
# - Smooth and good in PSNR go together. Look at jumps and error maps before you speak of detail.
# - Give the cost beside the quality. A plain U-Net with as many minutes is a hard rival on `sr`.
#
# ## Quiz
# 1. Why has a perfect sample twice the squared error of the mean?
# 2. Which loss makes a regression answer the median?
# 3. Where is the noise of I2SB's state largest, and how large is it at the ends?
# 4. Method A has a higher PSNR than B and half of its jumps. Is A better?
# 5. Why is `latent-3d` bounded, whatever its training, and `wavelet-3d` not?
#
# <details><summary>Answers</summary>
#
# 1. Truth and sample are two independent draws: their difference has the variance of both.
# 2. The absolute error, voxel by voxel.
# 3. Where $\sigma_t = \bar\sigma_t$, at the middle; zero at both ends.
# 4. It may be a blurred B. PSNR rewards that.
# 5. What the autoencoder cannot draw is out of reach; eight bands hold every number of the volume.
#
# </details>

# %% [markdown]
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
#
# Next: [`11_make_a_volume`](11_make_a_volume.ipynb), where 2D networks make volumes without a second plane.
