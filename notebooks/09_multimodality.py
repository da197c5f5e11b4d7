# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Two modalities from experts that know one each
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/09_multimodality.ipynb)
#
# Someone has trained 2D models that sharpen a degraded FLAIR. Someone else has trained 2D models that turn a T1ce into
# a FLAIR. A patient comes with both. Must everything be trained again, on subjects that have both? Sec. 3.4 of the
# paper says no: all of these models estimate the same noise in the same FLAIR, so they are experts of one fusion, each
# with the condition that it knows. Only the small 3D network learns what it is to have both.
#
# **Goals.** Afterwards you can
# - say what experts of different conditions must share to be fused, and what they need not;
# - read a gate of four against the errors of its experts, and say why it need not follow them;
# - name the bar that such a fusion has to reach, and what it saves.
#
# **Before.** [`06_train_fusion`](06_train_fusion.ipynb): gate and residual. [`07_translate`](07_translate.ipynb): the
# projection.
#
# **Papers.** Diff-Ensembler / Score-Fusion, Sec. 3.4: [arXiv:2501.07430](https://arxiv.org/abs/2501.07430). Learnt
# weights of diffusion models with other conditions, Collaborative Diffusion:
# [arXiv:2304.10530](https://arxiv.org/abs/2304.10530).
#
# | name | experts | combined by |
# |---|---|---|
# | `multi-tpdm` | super-resolution and translation, two planes each | the average of four |
# | `multi-ours`, `multi-small` | the same four | a 3D network (the small one without feature maps) that reads both conditions |
# | `tpdm`, `ours-tpdm` | two planes, trained for both conditions at once | average, 3D network |
#
# | preset | what is trained | time | memory |
# |---|---|---|---|
# | `smoke` | everything, on 4 mm phantoms: shows that it runs, not that it is good | 1.5 minutes of one core | 1.5 GB |
# | `demo` | nothing with the defaults: experts and fusion come with the package for `seed` 0; another seed trains, 24 minutes of one core and 7 GB | 1.5 minutes of one core, once the phantoms are there | 2 GB |
# | `scan` | all of it at 1 mm | 4 hours of one CPU core (estimated) | 11 GB |
# | `gpu`, `paper` | all of it | hours and weeks | see `05_train_2d`, `06_train_fusion` |

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke", "methods": "multi-tpdm,multi-ours,tpdm"}}
preset: str = "demo"  # smoke | demo | scan | gpu | paper
task: str = "both"  # only both: the methods of this notebook need both conditions
methods: str = "multi-tpdm,multi-ours,tpdm,ours-tpdm"  # multi-small, too: 11 minutes more
single: str = "tpdm"  # methods to show with one condition, at tasks sr and mt; empty: none
gates_of: str = "multi-ours"  # the fusion of four to look into
samples: int = 1  # samples of each method
seed: int = 0  # seed of training and sampling
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout

# %%
import pandas as pd
import torch

from diffens_core import check_parameters, compare, heading, open_experiment, results_table
from diffens_core.show import plots

check_parameters()
experiment = open_experiment(preset, seed, data, runs)
pairs = {name: experiment.subjects("test", name)[0] for name in ("sr", "mt", task)}
pair, conditions = pairs[task], experiment.task(task).conditions
at, brain, truth = plots.middle(pair.brain.numpy()), pair.brain.numpy(), pair.x0[0].numpy()
inputs = {name: channel.numpy() for name, channel in zip(conditions, pair.y)}
figure = plots.three_planes({"FLAIR (target)": truth, **inputs}, at=at, title=pair.subject)

# %% [markdown]
# ## The experts are those of the single tasks
# A run's folder is named by the hash of all that defines it. The folders that the fusion asks for are those of
# `palette-<plane>` at the tasks `sr` and `mt`: nothing about them knows of a second condition, or of each other.

# %%
(run,) = experiment.runs_of(gates_of, task)
planes = experiment.preset.planes
own = [experiment.runs_of(f"palette-{p}", name)[0] for name in ("sr", "mt") for p in planes]
names = [f"{expert.task}, {expert.plane}" for expert in own]
folders = {"asked for by the fusion": run.experts, "run of the single task": own}
folders = {column: [r.folder.name for r in found] for column, found in folders.items()}
table = pd.DataFrame(folders, index=names)
table.assign(same=[a == b for a, b in zip(run.experts, own)])

# %% [markdown]
# ## Each reads what it was trained on
# With $y_A$ for the degraded FLAIR and $y_B$ for the T1ce, of planes $p$:
#
# $$\begin{gathered}
# \hat\epsilon = \sum_p w_{A,p}\, \epsilon_{A,p}(x_t, y_A, t) \qquad \\[4pt]
# {} + \sum_p w_{B,p}\, \epsilon_{B,p}(x_t, y_B, t) \\[4pt]
# \qquad {} + \lambda\, r(x_t, y_A, y_B, t), \\[4pt]
# \sum_p (w_{A,p} + w_{B,p}) = 1 .
# \end{gathered}$$
#
# All share $x_t$, $t$ and the scale of the target; none reads what it was not trained on.
#
# The conditions `y` have three channels here: the degraded FLAIR as measured, its interpolation, and the T1ce. `reads`
# names those that an expert gets, in the order that it learnt. All target volumes are scaled alike, whatever the task:
# otherwise one expert's noise would not be another's.

# %%
model = experiment.model(gates_of, task)
reads = [[conditions[channel] for channel in expert.reads] for expert in model.experts]
print(*(f"{name}: {', '.join(found)}" for name, found in zip(names, reads)), sep="\n")
trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
frozen = sum(p.numel() for p in model.experts.parameters())
print(f"{gates_of}: {trained:,} parameters trained on both conditions, {frozen:,} taken over")

# %% [markdown]
# ## Who is right, and who is trusted?
# For several noise levels, within the brain: the error of the clean volume that each expert implies, and the weight
# that the gate gives it. 1/4 each is the plain average.
#
# **Predict first.** At high noise an expert has little but its condition. Which two will have the smaller error there,
# those that read the blurred FLAIR or those that read the sharp T1ce? And at low noise?

# %%
device = next(model.parameters()).device
x0, y, gates, errors = pair.x0[None].to(device), pair.y[None].to(device), {}, {}
with torch.inference_mode():
    for level in (950, 800, 600, 400, 200, 50):
        t = torch.tensor([level], device=device)
        draw = torch.randn(x0.shape, generator=torch.Generator().manual_seed(level)).to(device)
        xt = model.schedule.add_noise(x0, draw, t)
        fused = model.fuse(xt, y, t)
        gates[level] = fused.gate[0].float().cpu().numpy()
        guesses = torch.stack([*fused.eps_planes, fused.eps_planes.mean(0), fused.eps])
        wrong = [model.schedule.x0_from_eps(guess, xt, t) - x0 for guess in guesses]
        errors[level] = [float(w[0, 0].cpu()[pair.brain].square().mean().sqrt()) for w in wrong]

# %%
table = pd.DataFrame(errors, index=[*names, "average", "fusion"])
table.rename_axis("rms error of x0, t =", axis=1).style.format("{:.4f}")

# %% [markdown]
# At `smoke` the four are alike at low noise (right), where the target itself shows through, and differ little at high
# noise. At `demo` the two of the T1ce err less on the head shown, at every noise level. On the third test head they err
# more at high noise: how bright a tissue is in a FLAIR is a guess from a T1ce, good for one head and bad for another.
# (At `t = 50`, a level that its own sampler never visits at these presets, the fusion is behind the average at `demo`,
# and far off at `smoke`.)
#
# **Predict first.** Will the gate put its weight where the errors are small?

# %%
means = {level: gate[:, brain].mean(1) for level, gate in gates.items()}  # [4] each
shares = {name: [mean[p] for mean in means.values()] for p, name in enumerate(names)}
figure = plots.step_curves(shares, list(gates), "mean weight within the brain")

# %% [markdown]
# At high noise (left) an expert has little but its condition: those of translation have fine detail but must guess the
# contrast, those of super-resolution know the contrast but not the detail. Does the gate follow the errors? It does
# not. At `smoke` most weight at high noise goes to an expert of translation, the least error is that of one of
# super-resolution. At `demo` those of super-resolution have more than nine tenths of the weight at every level, and the
# larger errors on this head. It need not follow them: a weight is good if it makes the *sum* good, and errors that
# cancel are worth keeping. And the residual, whose network reads both conditions, may do the gate's work.
#
# ## Where?
# The same weights, a row for each expert, voxel by voxel in one coronal cut. The colours span the whole range from 0 to 1,
# and white is the plain average; the line below says where nearly all weights lie.

# %%
shown = {f"t = {level}": gate for level, gate in gates.items()}
figure = plots.expert_maps(shown, names, brain, at)

# %% [markdown]
# ## Samples
# With the measurement in `y`, every method's sample agrees with it (`07_translate`), also those of the translation
# experts within the average. Single-condition methods for comparison: at `sr` without the T1ce, at `mt` without the
# degraded FLAIR, and so without a projection.
#
# **Predict first.** Four experts that know one condition each, averaged, against two that read both, averaged: which is
# better? And what if the four are fused?

# %%
chosen, alone = ([name for name in text.split(",") if name] for text in (methods, single))
metrics, volumes = compare(experiment, chosen, task, [pair], samples)
for other in ("sr", "mt"):
    found, more = compare(experiment, alone, other, [pairs[other]], samples)
    labels = {name: f"{name} ({other})" for name in alone}
    metrics = pd.concat([metrics, found.assign(method=found["method"].map(labels))])
    volumes |= {(labels[name], subject): volume for (name, subject), volume in more.items()}
rows = [f"{name} ({other})" for name in alone for other in ("sr", "mt")] + chosen
results_table(metrics, rows).rename(columns=heading).style.format("{:.3f}")

# %%
shown = {"truth": truth, **{name: volumes[name, pair.subject][0, 0].numpy() for name in rows[:7]}}
figure = plots.three_planes(shown, truth, at, f"{pair.subject}, preset {preset}: one sample each")

# %% [markdown]
# At `demo`, over six phantoms ([experts of one modality
# each](../figures/results/all_methods.md#experts-of-one-modality-each)): the average of the four has 28.0 dB, that of
# two experts that read both 30.9; the four fused have 32.8, the two fused 33.0. So the fusion of experts that know one
# condition each gains 4.8 dB, more than anywhere else, and comes within 0.2 dB of the bar. One head of this run may
# differ. At `smoke` all averages are noise, and all fusions alike.
#
# How to read it:
#
# - `multi-tpdm` trusts a translation expert's guess of the contrast as much as the measured one. The projection repairs
#   the block means, not what lies within a block.
# - The step from `multi-tpdm` to `multi-ours` is what the 3D network learns about having both: the experts are equal.
# - `ours-tpdm` is trained for both conditions from the start: each of its experts may combine them within a slice. It
#   is the bar for experts with one condition each that are not trained again.
# - On phantoms both conditions are drawn from the same tissue maps, so a T1ce tells nearly all. On scans it does not.

# %% [markdown]
# ## What it costs
# Seconds and parameters of all that is behind a method. `multi-ours` shares its experts with every method of the tasks
# `sr` and `mt`. Weights that come with the package bring the seconds of their own training along.

# %%
from diffens_core import cost_of

costs = {name: cost_of(experiment.runs_of(name, task), experiment.runs) for name in chosen}
pd.DataFrame(costs).T.reindex(columns=["seconds", "parameters"]).style.format("{:,.0f}", na_rep="")

# %% [markdown]
# ## What to take away
# - Experts can be fused if they estimate the same noise in the same target: same schedule, same scale. Their conditions
#   are their own affair.
# - An average of experts with different conditions is worse than the same average of experts that read both; a fusion
#   is nearly as good as one of these.
# - A weight is good if it makes the sum good. Do not read a gate as a ranking of experts.
# - What it saves is training experts anew for every set of conditions. What it costs is four runs of 2D networks a
#   step.
#
# ## Quiz
# 1. Why must the targets of all experts have the same scale?
# 2. Two experts err by the same amount, with opposite sign. Which gate is best, and what would a ranking say?
# 3. Why can the average of the four be worse than the better pair of them alone?
# 4. Where does the sample of a translation expert meet the measurement here?
# 5. A third condition comes with two experts. Which networks are trained?
#
# <details><summary>Answers</summary>
#
# 1. $x_t$ is one volume: with another scale of $x_0$ another part of it is noise.
# 2. 1/2 each: the errors cancel. A ranking would call them equal and say nothing.
# 3. It gives half of its weight to experts whose guess of what the other pair knows is poor.
# 4. In the projection of every step, which corrects the fused estimate, not the expert's.
# 5. The 3D network of the fusion of six, and nothing else.
#
# </details>

# %% [markdown]
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
#
# Next: [`10_baselines`](10_baselines.ipynb), as a method is only as good as what it is compared with.
