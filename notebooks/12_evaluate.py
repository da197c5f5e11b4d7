# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How good is a translation?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/12_evaluate.ipynb)
#
# No single number says it. This notebook measures some methods on the same held-out subjects in every way that the
# paper uses, and in a few that it does not, and says what each number is blind to.
#
# | question | numbers |
# |---|---|
# | how near is each voxel? | PSNR, MAE, in the whole volume, the brain, the tumour, slice by slice |
# | is the structure right? | SSIM, likewise |
# | do slices fit together? | jitter along each axis |
# | do the volumes look like true ones, as a set? | Frechet distances, MMD |
# | is a difference between methods real? | intervals, paired tests, effect sizes |
#
# [`13_uncertainty`](13_uncertainty.ipynb) asks whether a method knows its own errors,
# [`14_segmentation`](14_segmentation.ipynb) what its volumes are good for.
#
# **Goals.** Afterwards you can
# - write down each metric, and name a change of a volume that it does not see;
# - test a difference between two methods on the same subjects, and say what the test leaves out;
# - say why a distance between small sets is large, and what to put beside it.
#
# **Before.** [`00_quickstart`](00_quickstart.ipynb): the methods. Mean, variance, what a p value is.
#
# **Papers.** SSIM: [doi:10.1109/TIP.2003.819861](https://doi.org/10.1109/TIP.2003.819861). FID:
# [arXiv:1706.08500](https://arxiv.org/abs/1706.08500). MMD: [JMLR 13:723](https://jmlr.org/papers/v13/gretton12a.html).
# Perception against distortion: [arXiv:1711.06077](https://arxiv.org/abs/1711.06077).
#
# | preset | what it does | time | memory |
# |---|---|---|---|
# | `smoke` | trains and evaluates on 4 mm phantoms: shows that it runs | 1.5 minutes of one core | 2 GB |
# | `demo` | six held-out phantoms; `unet-2d` is trained, the rest comes with the package for `seed` 0 and task `sr`. With `sets` a small segmenter of FLAIR, too, for its features: 20 minutes of one core once | 5.5 minutes of one core, once the phantoms are there | 2 GB |
# | `scan` | 1 mm, after training | two minutes of one core per method and subject (estimated) | 6 GB (estimated) |
# | `gpu`, `paper` | 1 mm, after training | a minute per method and subject (estimated) | 24 GB |
#
# Samples are kept beside the runs (`samples-...`): run this again, with more subjects or methods, and only what is new
# is drawn.

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke", "methods": "degraded,palette-axial,tpdm,ours-tpdm", "sets": 1}}
preset: str = "demo"  # smoke | demo | scan | gpu | paper
task: str = "sr"  # sr | mt | both, or a line such as t1->t2
methods: str = "degraded,cubic-projected,unet-2d,palette-axial,tpdm,ours-tpdm"
rivals: str = "tpdm:palette-axial,ours-tpdm:tpdm"  # which differences are tested, method:rival
split: str = "test"  # test; your own data may have val
subjects: int = 6  # how many held-out subjects; 0: all
seed: int = 0  # seed of training and sampling
steps: int = 0  # of sampling; 0: the preset's
sampler: str = ""  # ddim | ddim:ETA | ancestral | dpm++; empty: the preset's
segmenter: str = "own"  # own: trained here; empty: no Dice
sets: int = 0  # 1: distances of the features of a segmenter of FLAIR, which is trained for them
medicalnet: str = ""  # the file resnet_50_23dataset.pth, or download; empty: no FID
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings and samples are kept; empty: runs/ in the checkout
out: str = ""  # where the tables go; empty: figures/out/<preset>/12_evaluate

# %%
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from diffens_core import check_parameters, evaluate, METHODS, open_experiment, open_judges
from diffens_core.show import plots

check_parameters()
experiment = open_experiment(preset, seed, data, runs, steps=steps, sampler=sampler)

# %%
able = {name for name, method in METHODS.items() if method.does(experiment.task(task))}  # mt has nothing to interpolate
chosen = [name for name in methods.split(",") if name in able or name not in METHODS]
pairs = dict(pair.split(":") for pair in rivals.split(","))  # each method has one rival
pairs = {method: rival for method, rival in pairs.items() if {method, rival} <= set(chosen)}
folder = Path(out) if out else experiment.out / "12_evaluate"

# %% [markdown]
# ## Evaluate
# One call per method; on the command line it is `diffens evaluate METHOD --segmenter own`. The judge is a small
# SwinUNETR trained on the same training subjects (see `14_segmentation`). What is measured is what a user gets: the
# NIfTI file of one sample, read back.

# %%
judges = open_judges(experiment, task, segmenter, medicalnet, sets=bool(sets))
options = {"split": split, "subjects": subjects, "samples": 1, "judges": judges}
reports = [evaluate(experiment, name, task, out=folder / f"{name}-{task}", **options)[0] for name in chosen]
metrics = pd.concat(reports)
metrics.to_csv(folder / "metrics.csv", index=False)

# %% [markdown]
# ## The usual numbers, with intervals
# Mean over subjects, and a 95 % bootstrap interval of it (for three subjects or more). It says how far the mean of all
# subjects may be from that of these, and six are few: for normal values their intervals hold it 86 % of the time, those
# of three 73 % (simulated: `evaluation/statistics.py`). It does not say which method is better; the subjects are the
# same for all, so differences are known far better than means (next section).
#
# All metrics take the target's own range as their unit, as the paper does. (Targets are scaled to [-1, 1] and clipped,
# so a few of the brightest voxels of a scan count as 1, and the range ends there.) PSNR in decibels; MAE as a share of
# the range. With $R$ for the range, and $\mu, \sigma$ for mean, deviation and covariance under a Gaussian window around
# each voxel:
#
# $$\begin{gathered}
# \text{PSNR} = 10 \log_{10} \frac{R^2}{\text{mean}\, (\hat x - x)^2}, \\[4pt]
# \text{SSIM} = \text{mean}\; \frac{(2 \mu_x \mu_{\hat x} + c_1)(2 \sigma_{x \hat x} + c_2)} {(\mu_x^2 + \mu_{\hat x}^2 + c_1)(\sigma_x^2 + \sigma_{\hat x}^2 + c_2)}, \\[4pt]
# c_1 = (0.01 R)^2,\; c_2 = (0.03 R)^2 .
# \end{gathered}$$
#
# **Predict first.** Intervals of two methods overlap by half. Can one of them still be ahead on every subject?

# %%
from diffens_core import by_subject, heading, with_intervals

usual = ["psnr", "ssim", "mae", "psnr_brain", "ssim_brain", "mae_brain"]
pd.DataFrame({heading(metric): with_intervals(by_subject(metrics, metric, chosen)) for metric in usual})

# %% [markdown]
# They can, and at `demo` they do: subjects differ by decibels, and move all methods alike. So look at differences.
#
# ## Is the difference real?
# Paired over subjects: mean difference with its interval, on how many subjects it is positive, p of Wilcoxon's
# signed-rank test (adjusted by Holm's method for the tests of one metric), the rank-biserial effect size (1: ahead on
# every subject), and how many subjects a single paired t test would need to see this difference with 80 % power.
#
# **Predict first.** The fusion is ahead of the average on all six subjects. What is the smallest p that a signed-rank
# test of six can give? (Under the null hypothesis each of the signs is a coin.)

# %%
from diffens_core import comparisons

tests = {heading(m): comparisons(by_subject(metrics, m, chosen), pairs) for m in ("psnr", "ssim", "psnr_brain")}
pd.concat(tests).style.format({"needed": "{:.0f}"}, precision=3, na_rep="")

# %% [markdown]
# Six subjects cannot give p below 0.03, whatever they say, and "needed" may be fewer: it asks another test. And the
# unit here is the subject: another training of the same method is another story, which takes another `seed`. Of
# scans of your own there may be as few: hold [each out once](../data_prep/README.md#6-folds).
#
# ## Where is it good?
# The tumour is a few per cent of the voxels: a method may have a fine PSNR and miss it. Slice by slice, SSIM is in 2D.
#
# **Predict first.** Will the tumour have a higher or a lower PSNR than the brain?

# %%
from diffens_core import subject_means

values = subject_means(metrics).xs("single sample", level="kind").droplevel("task").unstack("metric")
means = values.groupby("method").mean().reindex(chosen)
regions = ["psnr", "psnr_brain", "psnr_tumour", "ssim", "ssim_brain", "ssim_tumour"]
means[regions].rename(columns=heading).style.format("{:.3f}", na_rep="")

# %% [markdown]
# A lower one, for all methods here, at `smoke` and at `demo`. A tumour is bright and another one in each head. So a
# number of the whole volume says little about it.
#
# Below, slice by slice: does a model of axial slices look better in the plane that it was trained in? At `demo`, on
# `sr`, it does not: `palette-axial` has the same PSNR in all three planes, to 0.04 dB.

# %%
planes = [f"{metric}_{plane}" for metric in ("psnr", "ssim") for plane in ("axial", "coronal", "sagittal")]
means[planes].rename(columns=heading).style.format("{:.3f}", na_rep="")

# %% [markdown]
# ## Do slices fit together?
# The paper speaks of jitter between slices and never measures it. Here: average the error within each slice over a
# small neighbourhood, which leaves what a slice has in common, and see how much it bends from slice to slice: the root
# mean square of its second differences, in per cent of the range. If every slice is off by an independent constant of
# standard deviation $s$, jitter is $s$. The truth has 0, and so has an error that changes steadily. With $c_k$ for the
# smoothed error at one place of slice $k$,
#
# $$\text{jitter} = \frac{1}{\sqrt 6} \sqrt{\text{mean}\, (c_{k+1} - 2 c_k + c_{k-1})^2},$$
#
# since second differences of independent constants have variance $(1 + 4 + 1)\, s^2$.
#
# A 2D model draws each slice alone: it jitters along the axis that it slices. Where it is free to, as on task `both`
# ([numbers](../figures/results/methods.md#jitter), of an earlier training), by far more than along the others; an
# average over planes halves the excess, and a 3D network has none. What all share is a floor: detail of the truth that
# changes from slice to slice and that nobody could know. On `sr` this floor hides most of it, and the degraded FLAIR,
# which steps from block to block, has more than any model. (At `smoke` it is all noise.) Bars are means over subjects,
# with their 95 % intervals:

# %%
names = [f"jitter_{plane}" for plane in ("axial", "coronal", "sagittal")]
jitter = values[names].stack().rename("value").reset_index()
jitter["along the axis of"] = jitter["metric"].str.removeprefix("jitter_") + " slices"
jitter["method"] = pd.Categorical(jitter["method"], chosen)
figure = plots.bars(jitter, "method", "along the axis of", heading("jitter"))
figure.savefig(folder / "jitter.png")

# %% [markdown]
# ## As a set
# Distances between the set of translations and the set of true volumes; smaller is better. Of features with means
# $\mu, \mu'$ and covariances $\Sigma, \Sigma'$ the Frechet distance (FID, if the features are right), and of a kernel
# $k$ the MMD:
#
# $$\begin{gathered}
# d^2 = \| \mu - \mu' \|^2 + \operatorname{tr}\bigl( \Sigma + \Sigma' - 2 (\Sigma \Sigma')^{1/2} \bigr), \\[4pt]
# \text{MMD}^2 = \mathbb E\, k(u, u') + \mathbb E\, k(v, v') - 2\, \mathbb E\, k(u, v) .
# \end{gathered}$$
#
# - `mmd_linear_voxels` is what the released code calls MMD: the squared distance of the two *mean volumes*. It sees a
#   common bias, and nothing else.
# - `frechet_segmenter`, `mmd_rbf_segmenter`, with `sets`: on features of a small segmenter of FLAIR trained here. Not
#   FID: numbers on features of another network cannot be compared with these. (`mmd_bandwidth_segmenter` is the width
#   of $k$.)
# - `fid_medicalnet50`: on MedicalNet's features, with `medicalnet` set. The weights' file is named by its hash.

# %%
from diffens_core.evaluation.distributions import too_few

sets = metrics[metrics["subject"] == "all"].pivot(index="method", columns="metric", values="value").reindex(chosen)
print(too_few(len(by_subject(metrics, "psnr", chosen))))
print("judges:", ", ".join(f"{name} {digest[:12]}" for name, digest in judges.digests.items()))
sets.rename(columns=heading).style.format("{:.4g}")

# %% [markdown]
# ### Few volumes, large distances
# With `sets` or `medicalnet`: draw two sets of true training volumes. The distance between them should be zero. The Frechet distance is not, and it
# falls with the number of volumes; the unbiased MMD scatters around zero. (Preset `smoke` has volumes for a single
# number.) A method's distance means something only beside the distance of truth to truth *at the same number of
# volumes*. (Translations are of the same subjects as the truth they are compared with, which brings the Frechet
# distance down; the MMD leaves out the pairs of one subject.)
#
# **Predict first.** By what factor does the Frechet distance of truth to truth fall when the sets are twice as large?

# %%
from diffens_core.evaluation.distributions import frechet_distance, mmd_rbf, small_sample_curve

panels, train = {}, experiment.subjects("train", "sr")
distances = {"Frechet distance": frechet_distance, "unbiased MMD": lambda x, y: mmd_rbf(x, y)[0]}
for extract in judges.features:
    true = torch.stack([extract(train[i].x0) for i in range(len(train))])
    sizes = [n for n in (2, 4, 8, 12, 16, 32) if n <= len(true) // 2]
    for name, distance in distances.items():
        curve = small_sample_curve(distance, true, sizes)
        quantiles = {n: np.quantile(found, [0.05, 0.5, 0.95]) for n, found in curve.items()}
        panels[f"{name}, {extract.name}"] = pd.DataFrame(
            quantiles, index=["5 %", "truth to truth, median of 20 draws", "95 %"]
        ).T
figure = plots.level_curves(panels, panels, xlabel="volumes in each set") if panels else None

# %% [markdown]
# By less than two where there are fewer volumes than features; with many volumes its bias falls as one over their
# number. The unbiased MMD has none, and scatters the less the more volumes there are.
#
# ## What to take away
# - Every number is blind to something: PSNR to where, SSIM to small shifts of brightness, set distances to which
#   subject.
# - Intervals of means are wide, differences on the same subjects are not. Test pairs, and say how many.
# - A p value of six subjects has a floor. Another training of the method is another source of chance, which it leaves
#   out.
# - A distance between small sets needs that of truth to truth, at the same number, beside it.
#
# ## Quiz
# 1. A constant of 1 % of the range is added to the true volume. What do PSNR, SSIM and jitter say?
# 2. What is the smallest two-sided p of Wilcoxon's test with six subjects, and where does it come from?
# 3. Why does `mmd_linear_voxels` not see that every volume of a set is blurred?
# 4. Two sets of eight true volumes have a Frechet distance of 5, a method's set has 6. How bad is the method?
# 5. Four metrics are tested, one has p = 0.03 before adjustment. What does Holm's method make of it, at worst?
#
# <details><summary>Answers</summary>
#
# 1. PSNR is 40 dB; SSIM hardly moves; jitter is 0, as the constant is the same in all slices.
# 2. $2 / 2^6 = 0.031$: all six signs equal, one of 64 ways, on either side.
# 3. It compares mean volumes, and those of sharp volumes of different heads are nearly as blurred.
# 4. It cannot be told from truth by that: 5 of the 6 are what small sets always have.
# 5. If it is the smallest of the four, 0.12.
#
# </details>

# %% [markdown]
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
#
# Next: [`13_uncertainty`](13_uncertainty.ipynb), where several samples of one scan say how sure a model is.
