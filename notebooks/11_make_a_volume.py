# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Make-A-Volume: from slices in a latent space to volumes
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/11_make_a_volume.ipynb)
#
# Another way to volumes with 2D networks (Zhu et al. 2023). Diff-Ensembler lets 2D models of several planes correct
# each other. Make-A-Volume has one plane, and teaches the 2D model itself to look at neighbouring slices:
#
# 1. an **autoencoder** makes slices smaller, so that everything after it is cheaper;
# 2. a **2D diffusion model** translates latents, slice by slice;
# 3. **volumetric layers** are put between its layers and tuned on stacks of slices; the 2D weights stay as they are.
#
# **Goals.** Afterwards you can
# - say what an autoencoder costs before any diffusion begins, and measure it;
# - put layers into a trained network so that at first nothing changes;
# - sample a volume in windows that end as one sample.
#
# **Before.** [`05_train_2d`](05_train_2d.ipynb). [`10_baselines`](10_baselines.ipynb): the rivals.
#
# **Papers.** Make-A-Volume: [arXiv:2307.10094](https://arxiv.org/abs/2307.10094). Latent diffusion:
# [arXiv:2112.10752](https://arxiv.org/abs/2112.10752). Diffusion in windows that walk together, MultiDiffusion:
# [arXiv:2302.08113](https://arxiv.org/abs/2302.08113).
#
# | preset | what runs | time | memory |
# |---|---|---|---|
# | `smoke` | three short trainings on 4 mm phantoms: shows that it runs, not that it is good | a minute of one core | 1 GB |
# | `demo` | nothing with the defaults: the networks come with the package for `seed` 0 and task `sr`. Else three trainings, 15 minutes on one CPU core | half a minute of one core, once the phantoms are there | 2 GB |
# | `scan` | three trainings at 1 mm | 2 hours of one CPU core (estimated) | 16 GB (estimated) |
# | `gpu` | 1 mm, latents 4 times smaller | half an hour on a data-centre GPU (estimated) | a card of 16 GB ([computed](../figures/results/memory.md)) |
# | `paper` | latents 8 times smaller, the network of GEM-3D | days | a card of 16 GB (computed) |

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke"}}
preset: str = "demo"  # smoke | demo | scan | gpu | paper
task: str = "sr"  # sr | mt | both, or a line such as t1->t2
seed: int = 0  # seed of training and sampling
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
split: str = "test"  # which subjects to translate

# %%
import pandas as pd
import torch

from diffens_core import check_parameters, compare, heading, image_metrics, METRICS, open_experiment
from diffens_core import results_table, roughness
from diffens_core.models.make_a_volume import OVERLAP, WINDOW, VolumetricDiffusion, window_starts
from diffens_core.show import plots

check_parameters()
experiment = open_experiment(preset, seed, data, runs)
pair = experiment.subjects(split, task)[0]
truth, brain = pair.x0[0].numpy(), pair.brain.numpy()
at = plots.middle(brain)

# %% [markdown]
# ## 1. An autoencoder of slices
# MONAI's `AutoencoderKL`, trained on axial slices of all contrasts, one grey channel each. Asking for the slice-wise
# model trains what it needs: first the autoencoder, then itself.

# %%
volumetric_run = experiment.runs_of("make-a-volume", task)[0]
slice_wise_run = volumetric_run.experts[0]
autoencoder_run = slice_wise_run.experts[0]
slice_wise = experiment.model("make-a-volume+slice-wise", task)
autoencoder = slice_wise.autoencoder
figure = plots.training_curves({"autoencoder": experiment.log(autoencoder_run)})

# %% [markdown]
# With encoder $E$ and decoder $D$, and the translation done on $z = E(x)$, a result is $D(\hat z)$. What does it lose?
# This bounds the whole method: but for the projection onto what was measured, no translation can be better than what
# the decoder can draw,
#
# $$\min_{\hat z} \| x_0 - D(\hat z) \| \approx \| x_0 - D(E(x_0)) \| .$$
#
# **Predict first.** Which will be the larger error: that of the autoencoder alone, or that of the translation as a
# whole?

# %%
device = next(autoencoder.parameters()).device
with torch.inference_mode():
    latents = autoencoder.encode(pair.x0[None].to(device))
    back = autoencoder.decode(latents, pair.x0[None])[0, 0].cpu().numpy()
views = {"truth": truth, "decoded": back}
figure = plots.three_planes(views, truth, at, "what the autoencoder keeps")
print(f"{pair.x0.numel()} voxels became {latents.numel()} numbers")
found = pd.DataFrame({"decoded": image_metrics(back, truth, brain)}).T
found[[*METRICS]].rename(columns=heading).style.format("{:.3f}")

# %% [markdown]
# (Keep this PSNR in mind for the last table.)
#
# ### Latents
# They look like small images, because the network is convolutional: which is why a 2D U-Net can work on them. Every
# channel is standardised with the mean and the deviation that were measured in training, since the diffusion adds
# noise of deviation 1. Those of this head are printed: at `demo` within 0.06 of 0 and 1, at `smoke`, after too few
# steps to measure them well, not.

# %%
figure = plots.latents(truth, latents[0].cpu().numpy(), autoencoder.plane, at)
statistics = {"mean": latents.mean((0, 2, 3, 4)), "deviation": latents.std((0, 2, 3, 4))}
print(*(f"{name} {values.cpu().numpy().round(2)}" for name, values in statistics.items()))

# %% [markdown]
# ## 2. Diffusion of latents
# The same U-Net, noise schedule, loss and sampler as in `05_train_2d`. It reads the noisy latents of the target and
# the latents of the conditions, and nothing else.

# %%
count = sum(p.numel() for p in slice_wise.body.parameters())
print(f"{count / 1e6:.2f} M parameters, widths {slice_wise.body.net.widths}")
print(f"on slices of {latents.shape[2]} x {latents.shape[3]}")
figure = plots.training_curves({"2D diffusion of latents": experiment.log(slice_wise_run)})

# %% [markdown]
# ## 3. Volumetric layers
# After each 2D convolution comes a convolution along the slices, a window of three. Its weights start as
# `(0, 1, 0)` (Dirac): it hands on what it gets. After each attention comes an attention along the slices, which starts
# at zero. So tuning starts from **exactly** the slice-wise model, as a fusion starts from exactly the average:
#
# $$\begin{gathered}
# h_k \leftarrow W_{-1} h_{k-1} + W_0 h_k + W_1 h_{k+1}, \\[4pt]
# W_{\pm 1} = 0,\; W_0 = I \text{ at the start}
# \end{gathered}$$
#
# for the features $h_k$ of slice k.
#
# **Predict first.** How large is the difference from the slice-wise model at the start: nothing, rounding, or a little?

# %%
volumetric = VolumetricDiffusion(slice_wise).eval()
with torch.inference_mode():
    conditions = autoencoder.encode(pair.y[None].to(device))
    xt, t = torch.randn_like(latents), torch.tensor([500], device=device)
    window = [values[..., :WINDOW] for values in (xt, conditions)]
    difference = (volumetric.to(device)(*window, t) - slice_wise(*window, t)).abs().max().item()
count = sum(p.numel() for p in volumetric.layers.parameters())
print(f"{len(volumetric.layers)} layers, {count / 1e6:.2f} M parameters")
print(f"difference from the slice-wise model at the start: {difference}")

# %% [markdown]
# Nothing: what is multiplied by 1 and added to 0 is not even rounded. Only the new layers are tuned, on stacks of 16
# slices with one noise level each.

# %%
volumetric = experiment.model("make-a-volume", task)
figure = plots.training_curves({"volumetric layers": experiment.log(volumetric_run)})

# %% [markdown]
# ### Whole volumes
# A head has more slices than a stack, so the model works in windows that overlap. Where they do, their predictions
# are averaged **in every step**: all windows walk together, towards one sample. Windows that were sampled one by one
# would each make up details of their own, and disagree where they meet. With $n_k$ windows over slice k,
#
# $$\hat\epsilon_k = \frac{1}{n_k} \sum_{\text{windows } \ni\, k} \epsilon_{\text{window}}(x_t)_k .$$

# %%
depth = latents.shape[autoencoder.dim]
print(f"{depth} slices: windows start at {window_starts(depth, WINDOW, OVERLAP)}")
names = ["make-a-volume+slice-wise", "make-a-volume"]
metrics, volumes = compare(experiment, names, task, [pair], 1)
results_table(metrics, names).rename(columns=heading).style.format("{:.3f}")

# %% [markdown]
# ## What do the volumetric layers add?
# Slices that were translated alone err each in its own way, and in a coronal or sagittal cut that shows as stripes.
# Measure it: how much does the error change from one slice to the next, and how much within the slice?
#
# **Predict first.** Which of the three columns should the volumetric layers make smaller, and which hardly?

# %%
made = {name: volumes[name, pair.subject][0, 0].numpy() for name in names}
errors = {name: roughness(volume - truth, brain) for name, volume in made.items()}
table = pd.DataFrame(errors, index=["along x", "along y", "from one axial slice to the next"]).T
table.style.format("{:.4f}")

# %%
short = {"slice-wise": made[names[0]], "volumetric": made[names[1]]}
views = {"truth": truth, "decoded": back, **short}
figure = plots.three_planes(views, truth, at, f"{pair.subject}, preset {preset}")

# %% [markdown]
# The last column. At `demo`, on this head, the jump of the error from slice to slice falls by 8 %, those within the
# slice by 1 %: that is what such layers are for. The PSNR gains 0.1 dB. At `smoke` all three fall by less than 1 %.
#
# And the bound is far away: at `demo` the autoencoder keeps this head at 36.6 dB, the translation has 24.4. (Over six
# phantoms it has 23.8 and an axial 2D model of voxels 24.4: [all
# methods](../figures/results/all_methods.md#all-methods).)
#
# ## What to take away
# - What the autoencoder loses is lost before the diffusion begins; measure it first.
# - Layers that start as the identity add to a trained network without breaking it. A fusion starts in the same way.
# - Windows must be averaged in every step, not after the last.
# - Look at the error across slices and within them: a method that smooths both has not made slices agree.
#
# ## Quiz
# 1. The decoder reproduces the truth at 33 dB, a translation has 24 dB. Whose fault is the difference?
# 2. Why are the latents standardised?
# 3. Why does the volumetric convolution start as (0, 1, 0), and the attention at zero?
# 4. What would be seen where two windows meet, if each were sampled on its own?
# 5. What does this method have instead of a second plane?
#
# <details><summary>Answers</summary>
#
# 1. Of the translation of latents: the autoencoder accounts for an eighth of the squared error.
# 2. The diffusion adds noise of deviation 1, and its schedule is made for data of about that size.
# 3. Both then hand on what they get, so training begins at a model that works. The attention is added to what comes in,
#    the convolution stands in its way.
# 4. A seam: both draw their own plausible detail.
# 5. Layers along the third axis, within the one model.
#
# </details>

# %% [markdown]
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
#
# Next: [`12_evaluate`](12_evaluate.ipynb), which asks what all these numbers say, and whether a difference is real.
