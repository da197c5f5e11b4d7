# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Stage 2: fusing the planes with a 3D network
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/06_train_fusion.ipynb)
#
# Two 2D models disagree wherever one sees what the other cannot. A plain average (TPDM) believes both equally,
# everywhere. Here a 3D network reads both and learns whom to trust, and what to add.
#
# **Goals.** Afterwards you can
# - write down the fusion, and say what its gate, its residual and its start at zero are for;
# - say why a network that will sample learns from its own states, and what goes wrong with true ones;
# - find out where in a head a fusion gains on the average, and where it does not.
#
# **Before.** [`05_train_2d`](05_train_2d.ipynb): the experts. [`03_theory`](03_theory.ipynb): why a gate alone is not
# enough. [`04_data`](04_data.ipynb): the measurement and its projection.
#
# **Papers.** Diff-Ensembler, later Score-Fusion: [arXiv:2501.07430](https://arxiv.org/abs/2501.07430); equations have
# its numbers. TPDM, the average: [arXiv:2303.08440](https://arxiv.org/abs/2303.08440). States that a sampler meets and
# a training does not (exposure bias): [arXiv:2301.11706](https://arxiv.org/abs/2301.11706).
#
# | preset | what runs | time | memory |
# |---|---|---|---|
# | `smoke` | two 2D models and their fusion on 4 mm phantoms | 1.5 minutes of one core | 1 GB |
# | `demo` | loads the models that come with the package; another `seed` trains: 12 minutes of one CPU core | 3 minutes of one core | 6 GB |
# | `scan` | two 2D models and their fusion at 1 mm | 100 minutes of one CPU core, of `mt` 200 | 11 GB |
# | `gpu` | 1 mm, patches of 64 x 64 x 64 | 13 minutes on an H200 (70 and 107 ms a step, 5 s a followed head, measured), after two 2D models | 12 GB, and 20 GB of main memory for the states |
# | `paper` | Table 10's network and the paper's own stage 2 | 16 GPU days (the paper) | 40 GB (the paper) |

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke"}}
preset: str = "demo"  # smoke | demo | scan | gpu | paper
task: str = "sr"  # sr | mt | both, or a line such as t1->t2
method: str = "ours-tpdm"  # the fusion to train
seed: int = 0  # seed of training and sampling
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout

# %%
import pandas as pd
import torch

from diffens_core import build, by_subject, check_parameters, compare, heading, noise_for, open_experiment
from diffens_core import results_table
from diffens_core.evaluation.gains import gain_table, squared_errors
from diffens_core.show import plots, zooms
from diffens_core.training.config import pool_gib
from diffens_core.training.states import Head, own_states, true_states

check_parameters()
experiment = open_experiment(preset, seed, data, runs)
run = experiment.runs_of(method, task)[0]
subjects = experiment.subjects("test", task)
pair, times = subjects[0], experiment.preset.times

# %% [markdown]
# ## The fusion
# Expert $p$ runs over all slices of its plane, and its answers are stacked to a volume $\epsilon_p$ (Eq. 4); so are its
# feature maps $F_p$. A 3D network $g$ reads them and puts out, at every voxel, $P$ logits $z_p$ and a residual $r$:
#
# $$\begin{gathered}
# (z, r) = g(x_t, y, t, \{\epsilon_p\}, \{F_p\}), \\[4pt]
# w_p = \frac{e^{z_p}}{\sum_q e^{z_q}}, \\[4pt]
# \hat\epsilon = \sum_p w_p\, \epsilon_p + \lambda\, r \quad \text{(Eq. 6)}
# \end{gathered}$$
#
# The gate $w$ says whom to trust, the residual $r$ adds what neither knows. The last layer starts at zero: $z = 0$ and
# $r = 0$, so $w_p = 1/P$, and training starts at exactly the average. (The paper's own gate is not bounded:
# `gate="plain"`.) The paper's training draws a true $x_0$, noise and a step, and leaves the experts as they are (Eq.
# 5):
#
# $$\begin{gathered}
# \mathcal L = \mathbb E\,\bigl\|\, \epsilon - \hat\epsilon(x_t, y, t, \{\epsilon_p\}, \{F_p\}) \bigr\|^2, \\[4pt]
# x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon \quad \text{(Eqs. 5 and 1)}
# \end{gathered}$$
#
# Clean estimates $\hat x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\, \epsilon) / \sqrt{\bar\alpha_t}$ are fused by the same
# gate, since its weights have sum 1. All presets but `paper` learn $r$ in this unit, that of the image:
# $\hat x_0 = \sum_p w_p\, \hat x_{0,p} + \lambda r$.
#
# What goes in: the noisy target, the conditions, brain mask, coordinates, and how each expert's clean estimate differs
# from their average; the experts' feature maps, brought onto the 3D grid by one strided convolution a level; and the
# estimate that the sampler makes of the average: clamped to [-1, 1], and projected onto what was measured. Whatever the
# network says that contradicts the measurement is taken back after it, so it need not learn to be right there, and the
# loss does not ask.

# %%
fresh = build(run)
count = sum(p.numel() for p in fresh.parameters() if p.requires_grad)
print(f"{run.folder.name}: {count / 1e6:.2f} M trainable parameters on top of {len(fresh.experts)} frozen experts")
print(
    *(f"{p.steps} steps, {p.batch} patches of {p.patch or experiment.preset.shape}" for p in run.train.phases), sep="\n"
)
if run.train.states:
    print(f"states: {run.train.states}, {pool_gib(run):.1f} GiB at most")
else:
    print("states: true images with noise, as in the paper")

# %% [markdown]
# ## It starts at the average
# **Predict first.** The network below is untrained, and has thousands of random weights. How far is its answer from the
# average of the experts: about as far as the noise is large, a few per cent, or not at all?

# %%
average = experiment.model("tpdm", task)
device = next(average.parameters()).device
fresh.to(device).experts.load_state_dict(average.experts.state_dict())
head, noise = Head.of(pair, False, device), noise_for(pair.subject, [0], seed, pair.x0.shape[1:], device)
with torch.inference_mode():
    visit = head.visit(fresh, noise, times[0])
    before = visit.fused(fresh)
    print("largest difference:", float((before.eps - average(visit.xt, visit.y, visit.t)).abs().max()))

# %% [markdown]
# Not at all: the random weights end in a layer of zeros.
#
# ## What it will meet
# *What* it learns from decides what it is worth. The paper shows it true images with noise. When it samples, it never
# meets one: it meets its own estimates with noise, and those are wrong in ways of their own. So it learns here on the
# states that its own sampler meets.
#
# The table has the average of the experts on one head, at the same noise levels: once as the sampler goes, each state
# made of the estimate before it (`own`), once with the true image under the noise (`true`). It is the root-mean-square
# error of the clean estimate, clamped and projected, over the whole window.
#
# **Predict first.** In which column is the error smaller, and at which end, high or low noise, do the columns differ?

# %%
answer, rows = lambda visit: visit.lifted.eps_planes.mean(0), {}
with torch.inference_mode():
    for kind, walk in {"own": own_states, "true": true_states}.items():
        visits = walk(fresh, head, noise, times, answer)
        rows[kind] = {int(v.t): float((v.estimate(fresh, answer(v)) - head.x0).square().mean().sqrt()) for v in visits}
pd.DataFrame(rows).rename_axis("t").style.format("{:.4f}")

# %% [markdown]
# At the first `t`, nearly pure noise, nothing tells the two apart. At the last one `true` is smaller: the true image
# shines through the noise, and whoever learns from it learns to copy it.
#
# ## Train
# With the experts comes a fit that costs no optimiser step. At every voxel, what is left between the average and the
# truth is predicted linearly from what is there to see: each expert's estimate, the conditions, the finest feature
# maps, and the 3x3x3 neighbours of the projected average and of the experts' differences. Its normal equations are
# gathered along the average's own trajectories; weights change linearly from noise level to noise level (`linear.py`).
# With $\phi_i$ for what is seen at voxel $i$, and $\bar x_0$ for the clean estimate of the average,
#
# $$\begin{gathered}
# r^{\text{lin}}_i = b_t^\top \phi_i, \\[4pt]
# b = \arg\min_b \sum_{\text{states},\, i} \bigl( x_{0,i} - \bar x_{0,i} - b_t^\top \phi_i \bigr)^2 .
# \end{gathered}$$
#
# The network learns what is not linear. The experts are frozen, so they run once for each state, and patches of what
# they said are kept; some hundred steps are taken on these (`states.py`). Then all heads are followed once more, with
# the fusion as it is by then. Each time a head is followed, it is moved by less than a block and measured anew, as if
# the scanner's slices had begun elsewhere.
#
# A patch is soon known by heart, and a state is dear: running the experts takes longer than the steps that are taken on
# it. So the network learns alone first, from places that are new in every step, in which the experts seem to know
# nothing but the interpolated measurement, or the T1ce where there is none (`without_experts`).
# (`ours-tpdm+never-alone` goes without: what follows a `+` is what is changed of a method.) Where the curve below
# jumps, at its dotted line, it hears them for the first time. (The few steps of `smoke` show no jump.)
#
# Where nothing is measured (`mt`), how bright a head's tissues are in the target is mostly chance. A network can only
# learn it by heart, for training heads, and be wrong in others. So the truths that it learns from are given brightness
# and contrast of the experts' average in the state at hand (alone, those of the T1ce in the window), and its answers
# keep them in each step (`contrast.py`): what it corrects is what lies where.
#
# The loss is the error of the estimate as the sampler uses it: with $\Pi_y$ for clamp and projection, and $m$ for the
# head,
#
# $$\begin{gathered}
# \mathcal L_{\text{own}} = \mathbb E\,
# \bigl\|\, m \odot \bigl( \Pi_y(\hat x_0(x_t, y, t)) - x_0 \bigr) \bigr\|^2, \\[4pt]
# x_t \sim \text{own sampler} .
# \end{gathered}$$
#
# **Predict first.** By how much will the loss fall in each of the two parts, alone and with the experts: by nine
# tenths, by half, by less? Think of how many images agree with one measurement.

# %%
fusion = experiment.model(method, task)
figure = plots.training_curves({method: experiment.log(run)})

# %% [markdown]
# By less than half in either part, at `smoke` and at `demo`: most of the error is what the measurement does not tell.
# (Levels before and after the jump cannot be compared: other patches, which hold another share of head.)
#
# ## What it learnt
# Along its own trajectory on a head that it never saw, error as above: each expert, their average, with the linear
# correction, with the network.
#
# **Predict first.** Put the five columns in order. Is the average better than the better expert?

# %%
rows, names = {}, [*experiment.preset.planes, "average", "linear", "fusion"]
with torch.inference_mode():
    for visit in own_states(fusion, head, noise, times, lambda visit: visit.fused(fusion).eps):
        planes, fused = visit.lifted.eps_planes, visit.fused(fusion)
        unit = fusion.schedule.eps_per_output(fusion.prediction, visit.xt, visit.t)
        linear = planes.mean(0) + unit * (visit.lifted.start if fusion.linear else 0.0)
        guesses = zip(names, [*planes, planes.mean(0), linear, fused.eps])
        errors = {name: visit.estimate(fusion, eps) - head.x0 for name, eps in guesses}
        rows[int(visit.t)] = {name: float(error.square().mean().sqrt()) for name, error in errors.items()}
pd.DataFrame(rows).T.rename_axis("t").style.format("{:.4f}")

# %% [markdown]
# At `demo` the average beats both experts at every `t`, the linear correction beats the average, and the network adds
# more than the linear fit did. At `smoke` the average is no better than the better expert in some rows, and the linear
# fit gains nearly all.
#
# ## Whole samples
# Of several heads; each answer starts from the same noise.

# %%
names = [f"palette-{plane}" for plane in experiment.preset.planes] + ["tpdm", method]
pairs = [subjects[i] for i in range(min(3, len(subjects)))]
metrics, volumes = compare(experiment, names, task, pairs, experiment.preset.samples)
results_table(metrics, names).rename(columns=heading).style.format("{:.3f}")

# %% [markdown]
# ## Where it gains
# Of the head with the median lead, squares of the cortex, there where they hold most of its edges: a rule that knows no
# method, so that nobody chooses. Below each is its difference from the truth: red is too bright, blue too dark.

# %%
psnr = by_subject(metrics, "psnr", ["tpdm", method])
subject = plots.median_subject(psnr[method] - psnr["tpdm"])
pair = subjects.pair(subject)
truth, brain = pair.x0[0].numpy(), pair.brain.numpy()
shown = {name: volumes[name, subject][0, 0].numpy() for name in names}
place = zooms.cortex(truth, brain)
figure = zooms.zoomed(shown, truth, place, f"{subject}: PSNR {(psnr[method] - psnr['tpdm'])[subject]:+.2f} dB")

# %% [markdown]
# The same place inside the fusion, in the last state of its own trajectory through this head: the gate, what the
# residual adds to the clean estimate ($\lambda r$ in the unit of the image), and what came of it in the sample,
# $|\text{error of the average}|$ minus $|\text{error of the fusion}|$.
#
# **Predict first.** Where will the gate leave 1/2, and by how much? Where is $\lambda r$ large: in flat tissue, or at
# its borders?

# %%
head, noise = Head.of(pair, False, device), noise_for(subject, [0], seed, pair.x0.shape[1:], device)
with torch.inference_mode():
    *_, last = own_states(fusion, head, noise, times, lambda visit: visit.fused(fusion).eps)
    fused = last.fused(fusion)
units = [fusion.schedule.eps_per_output(kind, last.xt, last.t) for kind in (fusion.prediction, "x0")]
added = fusion.config.lam * fused.resid * units[0] / units[1]
gate = f"weight of the {experiment.preset.planes[0]} expert"
maps = {gate: fused.gate[0, 0], r"$\lambda r$": added[0, 0]}
maps = {name: volume.float().cpu().numpy() for name, volume in maps.items()}
maps["|error| of average - fusion"] = abs(shown["tpdm"] - truth) - abs(shown[method] - truth)
even = {gate: 1 / len(fusion.experts)}
figure = plots.signed_maps(maps, truth, brain, place, even, f"{subject}, t = {int(last.t)}")

# %% [markdown]
# **How to read it.** White is no opinion: an even gate, nothing added, no difference. In the second column red trusts
# the first expert more and blue the other; in the third red makes the image brighter and blue darker; in the fourth red
# is gained and blue is lost. Each column has its own scale: read its numbers.
#
# At `demo` the gate stays between 0.35 and 0.65 nearly everywhere, and leaves 1/2 most at the rim and at sulci, while
# $\lambda r$ is large where fluid is: ventricles and sulci are drawn darker than the experts had them. (Its smooth
# part, the same over whole blocks, is taken back by the projection.) In the fourth column red and blue lie side by
# side; red is in front along sulci and ventricles. At `smoke` the experts' samples are still noise, and red is
# everywhere.
#
# The eye is drawn to the extremes. So count: squared errors of the samples above, over the brains of all heads shown,
# by tissue, and by distance, in voxels, from an edge of the truth (the tenth of the brain where the truth is steepest).
# The columns named by methods are root-mean-square errors; the last one says how the whole gain is shared out.
#
# **Predict first.** Which class holds most of the gain? Where is it largest in decibels: in the tumour, in flat tissue,
# or beside an edge?

# %%
errors = []
for pair in pairs:
    labels = subjects.labels(pair.subject)
    made = {name: volumes[name, pair.subject][0, 0].numpy() for name in ("tpdm", method)}
    labels = None if labels is None else labels.numpy()
    errors.append(squared_errors(made, pair.x0[0].numpy(), pair.brain.numpy(), labels))
table = gain_table(sum(errors), "tpdm", method)
table.style.format("{:.1f}").format("{:.3f}", subset=["tpdm", method]).format("{:.2f}", subset="gain, dB")

# %% [markdown]
# At `demo` (task `sr`) the quarter of the brain on and beside edges holds nearly three quarters of the gain, and the
# third that is farther than three voxels from any edge holds a twenty-fifth. In decibels most is gained one voxel
# beside an edge, and least in the tumour. The darkest fifth,
# mostly fluid, holds half of the gain. At `smoke` it is the other way round, most is gained far from edges: there the
# average's samples are noisy everywhere, and noise in flat tissue is the easiest to remove.
#
# ## What it costs
# What was gained has a price: a network that minimises squared error on the states it meets answers nearer to the mean
# of all plausible images. Compare the columns `single sample` and `mean of samples` above: averaging samples gains the
# fusion less than it gains the average. [`13_uncertainty`](13_uncertainty.ipynb) shows what is left of the spread.
#
# And it takes minutes that the 2D models could have had. At `demo`, on twelve phantoms, an average of experts that are
# given all of them is ahead of it by 0.06 dB on `sr` and 0.40 on `both`, a 2D regression by 0.26 and 0.50, a 3D one by
# 0.12 and 0.09 (`tpdm+all-time`, `unet-2d+all-time`, `unet-3d+all-time` in
# [`08_experts_and_averages`](08_experts_and_averages.ipynb); [at equal cost](../figures/results.md#equal-cost)). In
# these twelve minutes, what is gained on these tasks depends on how long is trained and hardly on what.
#
# ## What to take away
# - A fusion is an average that may be corrected: $\hat\epsilon = \sum_p w_p \epsilon_p + \lambda r$, and it starts as
#   the average, exactly.
# - A sampler meets its own estimates, not the truth. Who trains on true images with noise trains on an easier task.
# - A linear fit of what is left is free, and the network adds to it what is not linear.
# - The gain is not spread evenly: at `demo` most of it lies at and beside edges, least in the tumour. Count it.
# - Ahead of the average of the same experts is not ahead at equal cost. Both must be said.
#
# ## Quiz
# 1. Why is the fusion of clean estimates by the same weights the same as the fusion of noise predictions?
# 2. What would training start from if the last layer were drawn at random?
# 3. A fusion is trained on true images with noise and is excellent there. What does it do in the last steps of
#    sampling?
# 4. A gate map is 0.5 everywhere and the fusion is ahead. What made the difference?
# 5. The gain in decibels is the same in two classes, but one holds most of the gain. How can that be?
#
# <details><summary>Answers</summary>
#
# 1. A clean estimate is $(x_t - \sqrt{1 - \bar\alpha_t}\, \epsilon_p) / \sqrt{\bar\alpha_t}$, an affine function of
#    $\epsilon_p$ with the same coefficients for all $p$; weights with sum 1 pass through it.
# 2. From the average plus a random volume, and first it would have to unlearn that.
# 3. It copies what shines through the noise, which was the truth in training and is its own error now; the error stays.
# 4. The residual, and the linear correction within it.
# 5. Decibels compare errors within a class. The class whose error is larger, or that has more voxels, has more squared
#    error to lose.
#
# </details>

# %% [markdown]
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
#
# Next: [`07_translate`](07_translate.ipynb), which stops at every step of a translation and looks inside.
