# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Rows and columns: the whole idea on small images
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/02_rows_and_columns.ipynb)
#
# The paper makes 3D volumes with models that see 2D slices, and fuses them. Take one dimension off: make 2D images with
# models that see single rows and single columns. Everything stays the same, streaks, average, gate and residual, but
# one can see all of it at once, and train a network in half a minute. The code is the package's own: an image is a
# volume that is one voxel thick, and its slices are lines.
#
# **Goals.** Afterwards you can
# - say what a model of rows knows about an image and what it cannot know, and see it in its samples;
# - train two experts, fuse them in every step, and read the gate;
# - measure what the gate, the residual and the experts contribute, at which noise level, and at which cost.
#
# **Before.** [`01_scores_in_1d`](01_scores_in_1d.ipynb), and what a convolutional network is.
#
# | preset | what runs | time | memory |
# |---|---|---|---|
# | `smoke` | images of 16 x 16 pixels, 100 training steps a network: shows that it runs | 1.5 minutes of one core | 1 GB |
# | `demo` | images of 32 x 32 pixels, 300 training steps | 5.5 minutes of one core | 1 GB |
# | `scan`, `gpu`, `paper` | the same with five times the training; needs no GPU | 13 minutes on one CPU core (estimated) | 1 GB |
#
# **Papers.** Diff-Ensembler, in its later version Score-Fusion
# [Zhu et al. 2025](https://doi.org/10.48550/arXiv.2501.07430); TPDM, the average of perpendicular models
# [Lee et al. 2023](https://doi.org/10.48550/arXiv.2303.08440); DDIM
# [Song et al. 2021](https://doi.org/10.48550/arXiv.2010.02502); $v$
# [Salimans and Ho 2022](https://doi.org/10.48550/arXiv.2202.00512); the U-Net
# [Ronneberger et al. 2015](https://doi.org/10.1007/978-3-319-24574-4_28).

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke"}}
preset: str = "demo"  # smoke | demo | scan | gpu | paper: sizes only
bars: int = 2  # how many lying bars an image has, and how many standing ones
seed: int = 0  # seed of training and sampling
task: str = "sr"  # not used: there is nothing to translate
data: str = ""  # not used: the images are made here
runs: str = ""  # not used: nothing is kept

# %%
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import pandas as pd
import torch
from accelerate import Accelerator

from diffens_core import Average, check_parameters, ddim, Fusion, Schedule, SliceExpert, UNet
from diffens_core.data.bars import Bars, texture
from diffens_core.data.planes import coordinates
from diffens_core.diffusion.batch import Batch
from diffens_core.diffusion.loss import denoising_loss
from diffens_core.show import plots

# %%
from diffens_core.models.experts import VolumeDenoiser, channels_in
from diffens_core.models.fusion import FusionConfig
from diffens_core.networks.unet import UNetConfig
from diffens_core.support.progress import follow
from diffens_core.training.loop import Phase, TrainConfig, train

check_parameters()
size, steps, sampling_steps = {"smoke": (16, 100, 10), "demo": (32, 300, 25)}.get(preset, (32, 1500, 25))
world, schedule, cpu = Bars(size, bars), Schedule(), Accelerator(cpu=True)
generator = torch.Generator().manual_seed(seed)

# %% [markdown]
# ## A world of bars
# Each image has two lying and two standing bars, at random places. It is a volume `[X, Y, 1]`: a **row** has one Y, so
# it is a coronal slice, a line of pixels along X; a **column** has one X and is a sagittal slice, a line along Y.

# %%
x0 = world.draw(16, generator)
figure = plots.image_rows({"": {f"image {k + 1}": x0[k, 0].numpy() for k in range(6)}}, "axial")

# %% [markdown]
# **Predict first.** A model sees one row of pixels at a time. It knows exactly what rows look like. What will an image
# look like whose rows it makes one by one? And which bars does it know better, at the same noise: the lying or the
# standing ones?
#
# ## Two experts
# Each is a 2D diffusion model of the package, `SliceExpert`, with a small U-Net. It runs over all lines of an image and
# sees one at a time. It predicts $v$, and is trained to remove noise from lines (Eqs. 1 to 3; $v$ in place of
# $\epsilon$ weighs the noise levels more evenly). What is used in the end is a running mean of its weights $\theta$
# (`ema`):
#
# $$\begin{gathered}
# x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\; \epsilon, \\[4pt]
# \min_\theta\; \mathbb{E}\, \lVert v - v_\theta(x_t, t) \rVert^2
# \end{gathered}$$

# %%
net, models, losses, seconds = UNetConfig(base=16, mult=(1,), blocks=1), {}, {}, {}
training = TrainConfig((Phase(steps, 16, 3e-3),), loss="v", ema=0.99, warmup=20, decay="cosine")
options = {"noise_steps": schedule.steps, "seed": seed, "precision": "float32", "accelerator": cpu}
for name, plane in {"rows": "coronal", "columns": "sagittal"}.items():
    torch.manual_seed(seed)
    models[name] = SliceExpert(UNet(2, channels_in(1), 1, net), plane, schedule, "v")
    models[name].slices = 512  # lines are short: many fit in one pass
    with TemporaryDirectory() as folder:
        began = perf_counter()
        updates = train(models[name], world, training, Path(folder), **options)
        losses[name] = pd.DataFrame(list(follow(updates, f"training {name}", steps)))
        seconds[name] = perf_counter() - began

# %% [markdown]
# ## Sampled line by line
# The package's `ddim`, from the same noise for all. The third model is their **average** in every step, TPDM's way:
#
# $$\hat\epsilon = \tfrac12\, \epsilon_\text{rows} + \tfrac12\, \epsilon_\text{columns}$$

# %%
models["average"] = Average([models["rows"], models["columns"]])
noise = torch.randn(16, 1, size, size, 1, generator=generator)
samples = {"truth": x0}
for name in ("rows", "columns", "average"):
    with torch.inference_mode():
        *_, last = ddim(models[name], torch.zeros_like(noise), noise, sampling_steps)
    samples[name] = last.x0_hat
shown = {n: {f"image {k + 1}": v[k, 0].numpy() for k in range(6)} for n, v in samples.items()}
figure = plots.image_rows(shown, "axial")

# %% [markdown]
# Each row of the first is a fair row, and they do not fit together: **streaks**. The columns do the same the other way.
# The average has both streaks, fainter: where the two disagree it is undecided, and the bars fall apart.
#
# In numbers: the mean difference of pixels that are neighbours in a column (so between rows) and in a row (so between
# columns); the variance; and the share of pixels that are neither bar nor background, between -0.5 and 0.5.

# %%
table = pd.DataFrame({name: texture(images) for name, images in samples.items()}).T
table.style.format("{:.3f}")

# %% [markdown]
# Within its rows, that is between columns, the model of rows is somewhat too rough; between its rows it has more than
# three times the truth's differences, at preset `demo` five times. The model of columns is like it, the other way
# round. The average is too rough both ways, at `demo` 2.5 times, and its variance is less than that of any other: it is
# **timid**, as two guesses that disagree cancel.
#
# ## Who knows which bars?
# Now one step of denoising instead of a whole sample. True images get the noise of step 250; each model says what it
# takes to be behind it. The root-mean-square error of $\hat x_0$, apart for pixels of lying bars, of standing bars and
# of the background:

# %%
fresh, many = torch.Generator().manual_seed(seed + 1), 32
lying, standing = world.parts(many, fresh)
x0 = world.draw(many, torch.Generator().manual_seed(seed + 1))  # the same seed: the same images
t, nothing = torch.full((many,), 250), torch.zeros_like(x0)
xt = schedule.add_noise(x0, torch.randn(x0.shape, generator=fresh), t)
with torch.inference_mode():
    guess = {name: schedule.x0_from_eps(model(xt, nothing, t), xt, t) for name, model in models.items()}
places = {"lying bars": (lying > 0.5) & (standing < 0.5), "standing bars": (standing > 0.5) & (lying < 0.5)}
places["background"] = (lying < 0.5) & (standing < 0.5)
rms = {k: {n: float((v - x0)[where].square().mean() ** 0.5) for n, v in guess.items()} for k, where in places.items()}
pd.DataFrame(rms).style.format("{:.3f}")

# %% [markdown]
# Each knows the bars that lie **along** its lines: a row that runs through a lying bar has many bright pixels in a
# line, one that crosses a standing bar has three or so. On the bars the average lies between its two experts; on the
# background, where their errors differ but neither knows more, it is better than both.
#
# **Predict first.** Could one do better than the average by weights alone? Which weights would you give to the rows on
# a lying bar, on a standing bar, and on the background? What can no weights bring back?
#
# ## The fusion
# A third network sees the whole image, and reads both experts: their guesses and their feature maps. It puts out a
# weight for each pixel, the **gate**, and a correction, the **residual** (Eq. 6):
#
# $$\hat\epsilon = w\, \epsilon_\text{rows} + (1 - w)\, \epsilon_\text{columns} + \lambda r$$
#
# The experts stay as they are. Both outputs start so that the fusion is the average, and it is trained with the same
# loss (Eq. 5). Two controls are trained beside it: the gate without residual ($\lambda = 0$), and the same network
# `alone`, without experts, for three times as many steps.

# %%
experts = [models["rows"], models["columns"]]
whole = {"gate": FusionConfig(lam=0.0), "fusion": FusionConfig(residual_unit=0.3)}  # a larger unit than on brains
torch.manual_seed(seed)
whole = {name: Fusion(experts, 1, net, config) for name, config in whole.items()}
whole["alone"] = VolumeDenoiser(UNet(3, channels_in(1), 1, net), schedule, "v")
for name, model in whole.items():
    length = 3 * steps if name == "alone" else steps
    training = TrainConfig((Phase(length, 8, 3e-3),), loss="v", ema=0.99, warmup=20, decay="cosine")
    with TemporaryDirectory() as folder:
        began = perf_counter()
        updates = train(model, world, training, Path(folder), **options)
        losses[name] = pd.DataFrame(list(follow(updates, f"training {name}", length)))
        seconds[name] = perf_counter() - began
models |= whole

# %%
figure = plots.training_curves(losses)

# %% [markdown]
# Gate and fusion begin at the average of the experts, with a loss that `alone` has to learn its way down to. And much
# of every loss nobody can avoid: at high noise $v$ is nearly $-x_0$, and the image cannot be seen.
#
# ## Error by noise level
# So take the noise levels apart: the mean squared error of $v$ on fresh images.
#
# **Predict first.** At which noise levels does the fusion gain most over the average: where the noise is low, in the
# middle, or high?

# %%
levels, errors, draw = range(50, 1000, 100), {}, torch.Generator().manual_seed(seed + 2)
coords = coordinates(x0.shape[2:]).expand(many, -1, -1, -1, -1)
for level in levels:
    eps, t = torch.randn(x0.shape, generator=draw), torch.full((many,), level)
    batch = Batch(x0, nothing, coords, eps, t)
    with torch.inference_mode():
        errors[level] = {name: float(denoising_loss(model, batch, training)) for name, model in models.items()}
errors = pd.DataFrame(errors).T
share = errors.div(errors["average"], axis=0)
figure = plots.level_curves({"squared error of v": errors, "share of the average's error": share})

# %%
costs = {name: seconds[name] for name in ("rows", "columns", "alone")}
both = seconds["rows"] + seconds["columns"]
costs |= {"average": both} | {name: both + seconds[name] for name in ("gate", "fusion")}
summary = pd.DataFrame({"mean squared error of v": errors.mean(), "training, seconds": pd.Series(costs)})
summary.loc[list(models)].style.format({"mean squared error of v": "{:.4f}", "training, seconds": "{:.0f}"})

# %% [markdown]
# At the highest noise levels nobody knows anything of the image, and all errors come together. The fusion gains most
# around step 250, where it is just being decided what the image shows; a part of that is the gate's, the rest the
# residual's.
#
# And the control: `alone`, which took no longer than the fusion with its experts, is ahead of it, most of all at low
# noise. So small an image any network can see as a whole from the start, and three times the steps are worth more than
# experts. The fusion pays where the experts exist already, as it needs a third of the steps, or where the whole is too
# large to learn on. How that is for brains is measured [at equal cost](../figures/results.md#equal-cost).
#
# ## What the gate does
# One step of denoising again, at step 250, now with all models; and below, the weights of rows and columns that the
# network with the gate alone gives to the three images.
#
# **Predict first.** What will the weights look like on a lying bar, on a standing bar, and where two bars cross?

# %%
t = torch.full((many,), 250)
with torch.inference_mode():
    fused = {name: models[name].fuse(xt, nothing, t) for name in ("gate", "fusion")}
    guess |= {name: schedule.x0_from_eps(models[name](xt, nothing, t), xt, t) for name in ("gate", "fusion", "alone")}
steps_shown = {"truth": x0, "noisy": xt, **guess}
shown = {f"image {k + 1}": {name: v[k, 0].numpy() for name, v in steps_shown.items()} for k in range(3)}
figure = plots.image_rows(shown, "axial")

# %%
maps = {f"image {k + 1}": fused["gate"].gate[k].numpy() for k in range(3)}
everywhere = torch.ones(size, size, 1, dtype=torch.bool).numpy()
figure = plots.expert_maps(maps, ["rows", "columns"], everywhere, (0, 0, 0), "axial")

# %%
weights = {k: {n: float(part.gate[:, :1][where].mean()) for n, part in fused.items()} for k, where in places.items()}
print("mean weight of the rows, at step 250")
pd.DataFrame(weights).style.format("{:.2f}")

# %%
rms = {k: {n: float((v - x0)[where].square().mean() ** 0.5) for n, v in guess.items()} for k, where in places.items()}
print("root-mean-square error of the clean estimate, at step 250")
pd.DataFrame(rms).style.format("{:.3f}")

# %% [markdown]
# The gate draws the bars: the rows have more weight on lying bars than on standing ones, and on the background it is
# even, but for the experts' streaks, from which it turns away. Nobody told it which expert knows what; it learnt this
# from the loss of Eq. 5 alone. So the gate is better than the average on all three kinds of pixels, and the residual
# adds to that: it knows what neither a row nor a column can tell. (At preset `smoke` all of this is faint, and the gate
# of the fusion, which leaves more to its residual, does not show it yet.)
#
# ## Samples
# **Predict first.** The fusion and its average start from the same noise and see the same experts. Will its samples
# show the same image, mended, or another one? And will its bars be straight?

# %%
for name in whole:
    with torch.inference_mode():
        *_, last = ddim(models[name], torch.zeros_like(noise), noise, sampling_steps)
    samples[name] = last.x0_hat
shown = {n: {f"image {k + 1}": v[k, 0].numpy() for k in range(6)} for n, v in samples.items()}
figure = plots.image_rows(shown, "axial")

# %%
table = pd.DataFrame({name: texture(images) for name, images in samples.items()}).T
table.style.format("{:.3f}")

# %% [markdown]
# The noise decides where something is bright, the model what becomes of it: what is a scatter of points for the average
# is joined by the fusion. By all four measures it is nearer to the truth than the average, and the gate without
# residual lies between the two. At preset `demo` there are bars, though crooked ones; at `smoke` only blobs. `alone`,
# which had three times the steps, is nearer still in most of the measures.
#
# ## What carries over to volumes, and what does not
# | here | in the paper |
# |---|---|
# | an image of rows and columns | a volume of axial and sagittal slices |
# | a model of lines | a 2D diffusion model of slices |
# | streaks between rows | jumps between slices |
# | a small network that sees the whole image | a 3D network that sees the whole volume |
#
# Everything else is the same code. Two things are not the same. Here nothing was measured: in super-resolution the
# degraded image tells both experts the coarse shape, so that they disagree less, and there is less to gain. And the
# fusion learnt here from true images with noise; in sampling it meets its own.
# [`06_train_fusion`](06_train_fusion.ipynb) trains it on those.
#
# ## What to take away
# - A model of lines knows its lines and nothing between them: samples have streaks.
# - An average of two such models is timid. It halves what only one of them knows.
# - A gate chooses by place and noise level; nobody tells it which expert knows what. What neither knows is left to the
#   residual.
# - The fusion gains most at middle noise, where shapes are decided.
# - Compare at equal cost, the experts' training included. Fusion pays where experts exist, or where the whole is too
#   large to train on.
#
# ## Quiz
# 1. Why are images that the model of rows makes smooth along X and rough along Y?
# 2. In a lying bar the rows say $\hat x_0 = 0.7$, the columns say $-0.1$, the truth is 0.8. What does the average say,
#    and which weight of the rows comes nearest?
# 3. Why do samples of the average have less variance than those of either expert?
# 4. The fusion's last layer starts at zero. What does it predict before its first training step, and why is that a good
#    start?
# 5. `alone` takes no longer to train than the experts and their fusion together. Why is this the fair comparison, and
#    when would another one be fair?
#
# <details><summary>Answers</summary>
#
# 1. Each row is made in one piece, from noise of its own; nothing ties it to the rows above and below.
# 2. 0.3; a weight of 1, which gives 0.7. The missing 0.1 no weight in [0, 1] can add: that is for the residual.
# 3. Where they disagree their guesses cancel, so that each step goes to a value nearer to the mean; this adds up over
#    the steps.
# 4. The average of the experts: weights of one half and no residual. Training starts from what is already known, and
#    can only learn corrections.
# 5. Who wants images has to pay for the experts too. If the experts are there already, only the fusion's own training
#    counts.
#
# </details>
#
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
#
# Next: [`03_theory`](03_theory.ipynb), where volumes are Gaussian and every error is known exactly.
