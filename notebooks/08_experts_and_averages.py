# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # More experts: a third plane, slabs, and networks of others
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/08_experts_and_averages.ipynb)
#
# Diff-Ensembler needs experts, and any 2D diffusion model can be one. This notebook adds a third plane, lets experts
# look at neighbouring slices, compares the rules that average experts (TPDM, TOSM, MADM) with the 3D network that fuses
# them, and then borrows networks from diffusers and MONAI. At the end parts of the fusion are switched off, one by one.
#
# A 2D model is trained once and shared by all methods that use it. What is missing is trained when it is first asked
# for; `methods` and `ablations` choose what is compared.
#
# **Goals.** Afterwards you can
# - name the rules of TPDM, TOSM and MADM, and build an average and a fusion of any experts;
# - derive what averaging samples instead of scores does to the noise of a state;
# - read an ablation, and say what the gain of a fusion comes from here.
#
# **Before.** [`05_train_2d`](05_train_2d.ipynb), [`06_train_fusion`](06_train_fusion.ipynb),
# [`07_translate`](07_translate.ipynb).
#
# **Papers.** TPDM: [arXiv:2303.08440](https://arxiv.org/abs/2303.08440). TOSM:
# [arXiv:2308.08511](https://arxiv.org/abs/2308.08511). MADM: [arXiv:2406.08374](https://arxiv.org/abs/2406.08374).
# Diff-Ensembler / Score-Fusion: [arXiv:2501.07430](https://arxiv.org/abs/2501.07430).
#
# | preset | what is trained | time | memory |
# |---|---|---|---|
# | `smoke` | everything, on 4 mm phantoms: shows that it runs, not that it is good | 2 minutes of one core | 1.5 GB |
# | `demo` | the experts of two planes and `ours-tpdm` come with the package for `seed` 0; the coronal expert is trained once (1.5 minutes of one core), and so is what is added to `methods`: three experts of slabs for `madm` and `madm-samples` (6 minutes), a fusion (9 to 12 each) | 5.5 minutes of one core, of which 1.5 train the coronal expert, once | 2.5 GB |
# | `scan` | all of it at 1 mm | 4 hours of one CPU core (estimated) | 11 GB |
# | `gpu`, `paper` | all of it | hours and weeks | see `05_train_2d`, `06_train_fusion` |
#
# The networks of others come from diffusers and MONAI; on your own machine: `pip install diffusers`.

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens diffusers monai")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke", "methods": "tpdm,tpdm-alternate,tosm,madm,madm-samples,ours-tpdm", "ablations": "tpdm+no-projection", "ancestral_steps": 6, "borrowed_steps": 10}}
preset: str = "demo"  # smoke | demo | scan | gpu | paper
task: str = "sr"  # sr | mt | both, or a line such as t1->t2
methods: str = "tpdm,tpdm-alternate,tpdm-random,tosm,ours-tpdm"  # more: madm, madm-samples, ours-small, -tosm, -madm
ablations: str = "tpdm+no-projection,ours-tpdm+no-projection"  # some of methods.ABLATIONS; empty: none
samples: int = 1  # samples of each method
ancestral_steps: int = 12  # sampling steps in which the noise is measured
borrowed_steps: int = 20  # training steps of each borrowed network
seed: int = 0  # seed of training and sampling
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout

# %%
import pandas as pd
import torch

from diffens_core import check_parameters, compare, heading, open_experiment, results_table
from diffens_core.experiment.methods import SLAB, THREE_PLANES
from diffens_core.show import plots

check_parameters()
experiment = open_experiment(preset, seed, data, runs)
setting, conditions = experiment.setting(task), experiment.task(task).conditions
pair = experiment.subjects("test", task)[0]
chosen = [name for name in methods.split(",") if name]
print("DDIM steps:", experiment.preset.steps, " conditions:", *conditions)

# %% [markdown]
# ## One expert a plane
# Palette is a diffusion model of 2D slices, given the conditions. Each expert is trained alone on the slices of its
# plane and then run over all of them (Eq. 4). Within its plane it is consistent, across planes it cannot be.

# %%
planes = [f"palette-{plane}" for plane in THREE_PLANES]
metrics, volumes = compare(experiment, planes, task, [pair], samples)
results_table(metrics, planes).rename(columns=heading).style.format("{:.3f}")

# %% [markdown]
# ## Slabs: 2.5D
# A 2.5D expert still denoises one slice, but reads the *conditions* of its two neighbours on either side as well. The
# noisy target of the neighbours stays unknown to it, or each slice would need its neighbours to be denoised first.
# Below are the conditions that such an expert reads for one coronal slice, all at once, as channels. (MADM's own
# slabs reach eight slices either way.)

# %%
from diffens_core.models.experts import channels_in
from diffens_core.networks.inputs import with_neighbours

at, dim = plots.middle(pair.brain.numpy()), 3  # coronal slices lie along dimension 3 of [B, C, X, Y, Z]
slab = with_neighbours(pair.y[None], dim, SLAB)[0].unflatten(0, (-1, len(conditions)))
shown = {
    name: {f"slice {k - SLAB:+d}": slab[k, c].numpy() for k in range(len(slab))} for c, name in enumerate(conditions)
}
figure = plots.image_rows(shown, "coronal", at)
print("channels of a 2D expert:", channels_in(len(conditions)))
print("channels of a 2.5D expert:", channels_in(len(conditions), SLAB))

# %% [markdown]
# A 2D expert reads the noisy slice, the conditions, the mask and three coordinates; a slab has the conditions five
# times.
#
# Past the border there is no slice: the last one is repeated, in training as in sampling, so that an expert meets
# nothing in the one that it did not meet in the other. With slices that are named by their number:

# %%
numbers = torch.arange(6.0).reshape(1, 1, 1, 6, 1)
seen = with_neighbours(numbers, dim, SLAB)[0, :, 0, :, 0].T.int().tolist()
print(*(f"slice {k} of 6 reads slices {found}" for k, found in enumerate(seen)), sep="\n")

# %% [markdown]
# ## Rules
# The simplest fusion gives every expert a weight, the same in all voxels:
#
# $$\hat\epsilon = \sum_p w_p(t)\, \epsilon_p(x_t, y, t), \qquad \sum_p w_p(t) = 1 .$$
#
# - **TPDM** has two planes. Its released code lets one of them speak in each step: the second in every K-th, the first
#   in all others (`alternate(K)`), or the second with probability p (`random(p)`). As "weighted averaging" both have
#   half a say in every step (`average`). The method `tpdm` is the last one.
# - **TOSM** averages three planes, **MADM** three planes of slabs. At `demo` experts of slabs do not come with the
#   package: add `madm,madm-samples` to `methods`, and they are trained once.
#
# An expert of weight 0 is not run: alternation costs one expert a step. The weights of the first and the second plane:

# %%
from diffens_core.models.experts import alternate, average, random

times = experiment.preset.times
generator = torch.Generator().manual_seed(seed)  # in sampling: one for each subject and sample
rules = {"average": average(2), "alternate(2)": alternate(2, times), "random(0.5)": random(0.5, times, generator)}
pd.DataFrame({f"t = {t}": {name: rule(t) for name, rule in rules.items()} for t in times})

# %% [markdown]
# **Predict first.** What will a third plane bring, and what slabs: less than a fusion of two planes, or more?

# %%
averages = [name for name in chosen if not name.startswith("ours")]
found, more = compare(experiment, averages, task, [pair], samples)
metrics, volumes = pd.concat([metrics, found]), volumes | more
results_table(metrics, planes + averages).rename(columns=heading).style.format("{:.3f}")

# %% [markdown]
# At `demo`, on `sr` over six phantoms ([all methods](../figures/results/all_methods.md#all-methods)): one plane 24.3 to
# 24.4 dB, two 24.6, three 24.7, three of slabs 24.8; the fusion of two has 25.3. At `smoke` the samples are noise, and
# `madm-samples` is ahead since it averages noise away.
#
# ## Averaging scores, or averaging samples
# MADM does not average what the experts *predict*. Each expert takes its own ancestral step from $t$ to $s$ ($\eta = 1$
# in `07_translate`), with its own fresh noise of standard deviation $\sigma$, and the P resulting *samples* are
# averaged (`madm-samples`). The average of P independent noises has only 1 / P of their variance. So the next state has
# less noise than the schedule says:
#
# $$(1 - \bar\alpha_s - \sigma^2) + \sigma^2 / P \quad\text{instead of}\quad 1 - \bar\alpha_s,$$
#
# and as the next step starts from there, the lack adds up. It depends on the sampling alone, so the three 2D experts of
# TOSM show it as well as slabs do.
#
# **Predict first.** Three samples with independent fresh noise are averaged in every step. Will the noise in the state
# end at a third of the schedule's standard deviation, above that, or below?

# %%
from diffens_core import Average, autocast, ddim, noise_for
from diffens_core.diffusion.sampler import average_of_samples, noise_levels

experts = experiment.model("tosm", task).experts
device = next(experts.parameters()).device
y, project = pair.y[None].to(device), experiment.task(task).project
noise = noise_for(pair.subject, [0], seed, y.shape[2:], device)
streams = [torch.Generator().manual_seed(seed) for _ in range(2)]
with torch.inference_mode(), autocast(device):
    scores = ddim(Average(experts), y, noise, ancestral_steps, eta=1.0, project=project, generator=streams[0])
    apart = average_of_samples(experts, y, noise, ancestral_steps, project=project, generator=streams[1])
    walks = {"scores averaged": list(scores), "samples averaged": list(apart)}

# %% [markdown]
# The noise in a state is what is left of it without its share of the clean estimate: $x_t - \sqrt{\bar\alpha_t}\, \hat
# x_0$. The dashed lines are what the schedule says, and what the formula says when it is applied step by step.

# %%
levels = noise_levels(experts[0].schedule, ancestral_steps)
after = [level for _, level in levels]
measured = {
    name: [float((state.xt - level**0.5 * state.x0_hat).std()) for state, level in zip(states, after)]
    for name, states in walks.items()
}
formula, variance = [], 1.0
for t, level in levels:
    before = experts[0].schedule.alpha_bar[t].item()
    fresh = (1 - level) / (1 - before) * (1 - before / level)  # sigma^2 of an ancestral step
    variance = (1 - level - fresh) * variance / (1 - before) + fresh / len(experts)
    formula.append(variance**0.5)

# %%
schedule_says = [(1 - level) ** 0.5 for level in after]
lines = {"the schedule": schedule_says, "formula for samples": formula, **measured}
reached = [*(t for t, _ in levels[1:]), 0]
figure = plots.step_curves(lines, reached, "standard deviation of the noise", list(lines)[:2])

# %% [markdown]
# Above: it falls to $1 / \sqrt 3 = 0.58$ of the schedule's, a third of the *variance*, as soon as nearly all noise in a
# state is fresh. Averaged scores follow the schedule. Averaged samples fall below it: the experts are told one noise
# level and shown another, cleaner one. (A rough estimate of the clean volume holds some of the noise itself; that much
# is missing from both measured lines.) And what the samples do not share is averaged away, in every step. Both make the
# result smooth, nearer to a mean than to a sample: good for PSNR, not for detail. The original starts late, at t = 200,
# from a noised first guess; here all methods start from pure noise.
#
# ## Diff-Ensembler on top of them
# The fusion starts as the average of its experts and learns a gate and a residual (`06_train_fusion`). It can be put on
# any set of experts: `ours-tpdm`, `ours-tosm`, `ours-madm`. `ours-small` has a narrower 3D network that reads no
# feature maps. By default one of them is shown, which comes with the package; add the others to `methods`, and they are
# trained once.
#
# **Predict first.** Does a fusion gain more on better averages, and do more experts make a better fusion?

# %%
fused = [name for name in chosen if name.startswith("ours")]
found, more = compare(experiment, fused, task, [pair], samples)
metrics, volumes = pd.concat([metrics, found]), volumes | more
results_table(metrics, planes + chosen).rename(columns=heading).style.format("{:.3f}")

# %%
truth = pair.x0[0].numpy()
picked = [name for name in chosen if name.startswith("ours") or "-" not in name]
shown = {"truth": truth, **{name: volumes[name, pair.subject][0, 0].numpy() for name in picked}}
figure = plots.three_planes(shown, truth, at, f"{pair.subject}, preset {preset}: one sample each")

# %% [markdown]
# At `demo`, on `sr`, over the same six phantoms, the fusions of two planes, three, and three of slabs have 25.3, 25.4
# and 25.4 dB: they gain 0.7, 0.7 and 0.6 on their averages, and end alike. `ours-small` has 25.1. More experts cost
# more and bring hardly anything there.
#
# What they cost to train: seconds and parameters of all networks behind a method, shared experts counted in each.
# Weights that come with the package bring the seconds of their own training along.

# %%
from diffens_core import cost_of

costs = {name: cost_of(experiment.runs_of(name, task), experiment.runs) for name in planes + chosen}
pd.DataFrame(costs).T.reindex(columns=["seconds", "parameters"]).style.format("{:,.0f}", na_rep="")

# %% [markdown]
# ## Networks of others
# A diffusers `UNet2DModel` becomes an expert in three steps: make it (or load its weights), tell `Borrowed` how many
# channels it reads, and lift it. `taps` are the modules whose outputs serve as feature maps, finest first: the last
# block of each level of its decoder. A network with other levels than the 3D network's takes part without `taps`.

# %%
from diffusers import UNet2DModel

from diffens_core import Borrowed, SliceExpert

torch.manual_seed(seed)
channels, widths = channels_in(len(conditions)), [8 * m for m in experiment.preset.fusion.mult]
kinds = {"down_block_types": ["DownBlock2D"] * len(widths), "up_block_types": ["UpBlock2D"] * len(widths)}
options = {"block_out_channels": widths, "layers_per_block": 1, "norm_num_groups": 8}
model = UNet2DModel(in_channels=channels, out_channels=1, **kinds, **options)
taps = [block.resnets[-1] for block in reversed(model.up_blocks)]
net = Borrowed(model, channels, multiple=2 ** (len(widths) - 1), taps=taps)
diffusers_expert = SliceExpert(net, "sagittal", experts[0].schedule, "v")
print(sum(p.numel() for p in net.parameters()), "parameters, feature maps of widths", net.widths)

# %% [markdown]
# MONAI's `DiffusionModelUNet` likewise, here without feature maps: it answers with its prediction alone.

# %%
from monai.networks.nets import DiffusionModelUNet

kinds = {"attention_levels": [False] * len(widths), "num_head_channels": 8}
options = {"channels": widths, "num_res_blocks": 1, "norm_num_groups": 8}
model = DiffusionModelUNet(2, in_channels=channels, out_channels=1, **kinds, **options)
net = Borrowed(model, channels, multiple=2 ** (len(widths) - 1))
monai_expert = SliceExpert(net, "coronal", experts[0].schedule, "v")
print(sum(p.numel() for p in net.parameters()), "parameters, feature maps of widths", net.widths)

# %% [markdown]
# ### Train them with our loop
# It takes any denoiser. The recipe is that of our own experts, cut to a few steps: enough to see the loss fall, by far
# not enough for good images. A network that was trained elsewhere, on the same channels and noise schedule, needs none.

# %%
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from diffens_core.support.progress import follow
from diffens_core.training.loop import train

training, noise_steps = experiment.subjects("train", task, keep=True), experts[0].schedule.steps

# %%
for name, expert in {"diffusers": diffusers_expert, "monai": monai_expert}.items():
    recipe = setting.expert(expert.plane).train
    recipe = replace(recipe, phases=(replace(recipe.phases[0], steps=borrowed_steps),), ema=0.9)
    with TemporaryDirectory() as folder:
        options = {"noise_steps": noise_steps, "seed": seed}
        steps = train(expert, training, recipe, Path(folder), **options)
        stats = list(follow(steps, f"training {name}", borrowed_steps))
    print(name, *(f"step {s.step}: {s.loss:.4f}" for s in stats), sep="   ")

# %% [markdown]
# ### Fuse them with one of ours
# Our axial expert, with the diffusers network and its feature maps; and the three of them without feature maps. A
# fusion starts as the average, so a few steps more are a start, again.

# %%
from diffens_core import Fusion

ours = experiment.model("palette-axial", task)
config, unet, measured = experiment.preset.fusion_config, experiment.preset.fusion, experiment.task(task).degradation
both, three = [ours, diffusers_expert], [ours, diffusers_expert, monai_expert]
fusions = {
    "fusion of two, with features": Fusion(both, len(conditions), unet, config, measured),
    "fusion of three, without": Fusion(three, len(conditions), unet, replace(config, features=False), measured),
}

# %%
recipe = experiment.preset.fusion_training()
recipe = replace(recipe, phases=(replace(recipe.phases[-1], steps=borrowed_steps),), ema=0.9)
if recipe.states:
    recipe = replace(recipe, states=replace(recipe.states, heads=2, patches=16, rounds=1, fit=2))
for name, fusion in fusions.items():
    with TemporaryDirectory() as folder:
        options = {"noise_steps": noise_steps, "seed": seed}
        steps = train(fusion, training, recipe, Path(folder), **options)
        stats = list(follow(steps, f"training {name}", borrowed_steps))
    print(name, *(f"step {s.step}: {s.loss:.4f}" for s in stats), sep="   ")

# %%
from diffens_core import sample, score

models = {"ours, axial": ours, "diffusers, sagittal": diffusers_expert, "monai, coronal": monai_expert}
models |= {"average of two": Average(both), "average of three": Average(three), **fusions}
options = {"subject": pair.subject, "samples": samples, "steps": experiment.preset.steps, "seed": seed}
drawn = {name: sample(model, pair.y, experiment.task(task), **options) for name, model in models.items()}
found = pd.concat([score(volume, pair, name, task) for name, volume in drawn.items()])
results_table(found, list(models)).rename(columns=heading).style.format("{:.3f}")

# %% [markdown]
# How good the borrowed experts are after so few steps matters little here. What matters: average and fusion never asked
# where their experts came from.
#
# ## What each part is worth
# Table 4 of the paper switches parts off. An ablation is a method with something changed, so it has a name and is
# trained, found and compared like any other.

# %%
from diffens_core import ABLATIONS

print(*(name for name in ABLATIONS if name.split("+")[0] in ("tpdm", "ours-tpdm")), sep="\n")

# %% [markdown]
# - `no-projection`: samples need not agree with what was measured. It acts in sampling alone, so nothing is trained.
# - `tpdm+all-time`, `unet-2d+all-time`, `unet-3d+all-time`: what others reach in the time that the fusion takes with
#   its experts. `ours-tpdm+true-states`: ours, learnt from true images with noise; `never-alone`: with experts from the
#   first step on.
# - `paper`: the paper's own stage 2 in the same time; `paper+patches-only`, `paper+volumes-only`: one of its two
#   phases, the second one longer to make up for it.
# - `no-features`: the 3D network sees the experts' predictions, not their feature maps. `no-context`: it sees no
#   neighbours of a voxel. `no-linear`: it starts without the linear fit.
# - `gate-only` (`lam = 0`) and `residual-only` (a uniform gate): either half of Eq. 6.
# - `affine-gate`: weights that may be negative or above 1, as in the authors' code, instead of a softmax.
# - `no-coordinates`: the 3D network is not told where in the head it is. `one-plane`: the axial expert alone.
# - `free-contrast`, of `mt`: brightness and contrast of a head are for the fusion to learn, and not those of its
#   average.
#
# All but `no-projection` train a fusion of their own on the same experts: about 10 minutes of one core each at `demo`.
#
# **Predict first.** Which costs more: to take the gate away, the residual, the feature maps, or one of the two planes?

# %%
wanted = ["tpdm", "ours-tpdm", *(name for name in ablations.split(",") if name)]
found, _ = compare(experiment, wanted, task, [pair], samples)
table = results_table(found, wanted).rename(columns=heading)
table.style.format("{:.3f}")

# %% [markdown]
# At `demo`, on six phantoms ([ablations](../figures/results/all_methods.md#ablations)): without the residual (gate
# only) 0.52 dB are lost, nearly all of the gain; without neighbours in the 3D network 0.57; without the projection
# 0.40; with true images as states 0.16. Without the gate, the feature maps or the second plane nothing is lost that six
# subjects show. That is not the paper's explanation of its gain, and it is said here because it was measured.
#
# As differences from `ours-tpdm`. One subject and one training are no evidence for small ones: repeat it with other
# seeds and more subjects before you believe a hundredth of a decibel.

# %%
(table - table.loc["ours-tpdm"]).drop("ours-tpdm").style.format("{:+.3f}")

# %% [markdown]
# ## What to take away
# - Anything with `eps = expert(xt, y, t)` is an expert: another plane, a slab, a network of others.
# - Averaging scores keeps the schedule's noise; averaging samples loses some of it in each step, and smooths.
# - A third plane and slabs bring a little to an average and hardly anything to a fusion, at `demo`.
# - What a fusion gains at `demo` comes from its 3D residual. An ablation tells, a gate map does not.
#
# ## Quiz
# 1. Why does an average of scores keep the noise at the schedule's level, and an average of samples not?
# 2. With `eta = 0`, would averaging samples still differ from averaging scores?
# 3. Why does a 2.5D expert read its neighbours' conditions, and not their noisy targets?
# 4. A network has other levels than the 3D network. How can it take part?
# 5. An ablation changes the result by 0.02 dB on one subject. What do you conclude?
#
# <details><summary>Answers</summary>
#
# 1. One draw of fresh noise is added to one state; P draws are averaged to 1 / P of their variance.
# 2. No: a step of DDIM is an affine function of $\hat\epsilon$, so the average of steps is the step of the average.
#    (But clamping is not affine.)
# 3. The neighbours' targets are unknown: they would have to be denoised first, or in step with it.
# 4. Without feature maps: its prediction alone is fused.
# 5. Nothing. Take more subjects and other seeds of training.
#
# </details>

# %% [markdown]
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
#
# Next: [`09_multimodality`](09_multimodality.ipynb), where each expert knows one modality: there a fusion gains most.
