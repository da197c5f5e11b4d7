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
# `13_uncertainty` asks whether a method knows its own errors, `14_segmentation` what its volumes are good for.
#
# | preset | what it does | time | memory |
# |---|---|---|---|
# | `smoke` | trains and evaluates on 4 mm phantoms: shows that it runs | 2 minutes | 2 GB |
# | `demo` | six held-out phantoms; a small segmenter of FLAIR is trained first, for its features | 25 minutes on one core once, then 5 | 4 GB |
# | `gpu`, `paper` | 1 mm, after training | a minute per method and subject (estimated) | 24 GB |
#
# Samples are kept beside the runs (`samples-...`): run this again, with more subjects or methods, and only what is new
# is drawn.

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke", "methods": "degraded,palette-axial,tpdm,ours-tpdm"}}
preset: str = "demo"  # smoke | demo | scan | gpu | paper
task: str = "sr"  # sr | mt | both, or a line such as t1->t2
methods: str = "degraded,cubic-projected,unet-3d,palette-axial,palette-sagittal,tpdm,ours-tpdm"
rivals: str = "tpdm:palette-axial,ours-tpdm:tpdm"  # which differences are tested, method:rival
split: str = "test"  # test; your own data may have val
subjects: int = 6  # how many held-out subjects; 0: all
seed: int = 0  # seed of training and sampling
steps: int = 0  # of sampling; 0: the preset's
sampler: str = ""  # ddim | ddim:ETA | ancestral | dpm++; empty: the preset's
segmenter: str = "own"  # own: trained here; empty: no Dice, no distances of its features
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
judges = open_judges(experiment, task, segmenter, medicalnet)
options = {"split": split, "subjects": subjects, "samples": 1, "judges": judges}
reports = [evaluate(experiment, name, task, out=folder / f"{name}-{task}", **options)[0] for name in chosen]
metrics = pd.concat(reports)
metrics.to_csv(folder / "metrics.csv", index=False)

# %% [markdown]
# ## The usual numbers, with intervals
# Mean over subjects, and a 95 % bootstrap interval of it (for three subjects or more). It says how far the mean of all
# subjects may be from that of these, and six are few: their intervals hold it 86 % of the time, those of three 73 %. It
# does not say which method is better; the subjects are the same for all, so differences are known far better than means
# (next section).
#
# All metrics take the target's own range as their unit, as the paper does. (Targets are scaled to [-1, 1] and clipped, so
# a few of the brightest voxels of a scan count as 1, and the range ends there.) PSNR in decibels; MAE as a share of the
# range.

# %%
from diffens_core import by_subject, with_intervals

usual = ["psnr", "ssim", "mae", "psnr_brain", "ssim_brain", "mae_brain"]
pd.DataFrame({metric: with_intervals(by_subject(metrics, metric, chosen)) for metric in usual})

# %% [markdown]
# ## Is the difference real?
# Paired over subjects: mean difference with its interval, on how many subjects it is positive, p of Wilcoxon's signed-rank
# test (adjusted by Holm's method for the tests of one metric), the rank-biserial effect size (1: ahead on every subject),
# and how many subjects a single paired t test would need to see this difference with 80 % power.
#
# Six subjects cannot give p below 0.03, whatever they say, and "needed" may be fewer: it asks another test. And the unit
# here is the subject: another training of the same method is another story, which takes another `seed`.

# %%
from diffens_core import comparisons

tests = {name: comparisons(by_subject(metrics, name, chosen), pairs) for name in ("psnr", "ssim", "psnr_brain")}
pd.concat(tests).style.format({"needed": "{:.0f}"}, precision=3, na_rep="")

# %% [markdown]
# ## Where is it good?
# The tumour is a few per cent of the voxels: a method may have a fine PSNR and miss it. Slice by slice, SSIM is in 2D,
# and a plane in which a 2D model was trained tends to look better than the planes across it.

# %%
from diffens_core import subject_means

values = subject_means(metrics).xs("single sample", level="kind").droplevel("task").unstack("metric")
means = values.groupby("method").mean().reindex(chosen)
regions = ["psnr", "psnr_brain", "psnr_tumour", "ssim", "ssim_brain", "ssim_tumour"]
means[regions].style.format("{:.3f}", na_rep="")

# %%
planes = [f"{metric}_{plane}" for metric in ("psnr", "ssim") for plane in ("axial", "coronal", "sagittal")]
means[planes].style.format("{:.3f}", na_rep="")

# %% [markdown]
# ## Do slices fit together?
# The paper speaks of jitter between slices and never measures it. Here: average the error within each slice over a small
# neighbourhood, which leaves what a slice has in common, and see how much it bends from slice to slice:
# the root mean square of its second differences, in per cent of the range. If every slice is off by an independent
# constant of standard deviation $s$, jitter is $s$. The truth has 0, and so has an error that changes steadily.
#
# A 2D model draws each slice alone: it jitters along the axis that it slices. Where it is free to, as on task `both`, by
# far more than along the others; an average over planes halves the excess, and a 3D network has none. What all share is
# a floor: detail of the truth that changes from slice to slice and that nobody could know. On `sr` this floor hides most
# of it, and the degraded FLAIR, which steps from block to block, has more than any model. (At `smoke` it is all noise.)

# %%
names = [f"jitter_{plane}" for plane in ("axial", "coronal", "sagittal")]
jitter = values[names].stack().rename("value").reset_index()
jitter["along the axis of"] = jitter["metric"].str.removeprefix("jitter_") + " slices"
jitter["method"] = pd.Categorical(jitter["method"], chosen)
figure = plots.bars(jitter, "method", "along the axis of", "jitter, % of the target's range")
figure.savefig(folder / "jitter.png")

# %% [markdown]
# ## As a set
# Distances between the set of translations and the set of true volumes; smaller is better.
#
# - `mmd_linear_voxels` is what the released code calls MMD: the squared distance of the two *mean volumes*. It sees a
#   common bias, and nothing else.
# - `frechet_segmenter`, `mmd_rbf_segmenter`: on features of a small segmenter of FLAIR trained here. Not FID: numbers on
#   features of another network cannot be compared with these.
# - `fid_medicalnet50`: on MedicalNet's features, with `medicalnet` set. The weights' file is named by its hash.

# %%
from diffens_core.evaluation.distributions import too_few

sets = metrics[metrics["subject"] == "all"].pivot(index="method", columns="metric", values="value").reindex(chosen)
print(too_few(len(by_subject(metrics, "psnr", chosen))))
print("judges:", ", ".join(f"{name} {digest[:12]}" for name, digest in judges.digests.items()))
sets.style.format("{:.4g}")

# %% [markdown]
# ### Few volumes, large distances
# Draw two sets of true training volumes: the distance between them should be zero. The Frechet distance
# is not, and it falls with the number of volumes; the unbiased MMD scatters around zero. (Preset `smoke` has volumes for
# a single number.) A method's distance means
# something only beside the distance of truth to truth *at the same number of volumes*. (Translations are of
# the same subjects as the truth they are compared with, which brings the Frechet distance down; the MMD leaves out the
# pairs of one subject.)

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
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
