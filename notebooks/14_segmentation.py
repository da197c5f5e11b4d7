# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What is a generated FLAIR good for?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/14_segmentation.ipynb)
#
# A radiologist does not read decibels. The question of this notebook: does a segmentation network find the tumour as
# well with a generated FLAIR as with the true one? Train a SwinUNETR on true contrasts, then replace its FLAIR by the
# degraded one, by each method's, by the true one, and compare what it finds with what is there.
#
# | preset | what it does | time | memory |
# |---|---|---|---|
# | `smoke` | a segmenter after a few steps: shows that it runs, finds little | a minute | 2 GB |
# | `demo` | a small segmenter at 2 mm, which comes with the package; six held-out phantoms | 2 minutes on one core | 3 GB |
# | `gpu` | a mid-size one at 1 mm | half an hour once, then seconds (estimated) | 24 GB |
# | `paper` | SwinUNETR as published; or give the path of its BraTS 2021 checkpoint in `segmenter` | days; minutes | 24 GB |

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke", "methods": "tpdm,ours-tpdm"}}
preset: str = "demo"  # smoke | demo | scan | gpu | paper
task: str = "sr"  # sr | mt | both, or a line such as t1->t2
methods: str = "cubic-projected,tpdm,ours-tpdm"  # besides the true and the degraded FLAIR
split: str = "test"  # test; your own data may have val
subjects: int = 6  # how many held-out subjects; 0: all
seed: int = 0  # seed of training and sampling
segmenter: str = "own"  # own: trained here; or a checkpoint of MONAI's SwinUNETR for BraTS 2021
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings and samples are kept; empty: runs/ in the checkout
out: str = ""  # where the tables go; empty: figures/out/<preset>/14_segmentation

# %%
from pathlib import Path

import pandas as pd

from diffens_core import check_parameters, evaluate, open_experiment, open_judges, Samples
from diffens_core.evaluation.evaluate import TRUTH
from diffens_core.show import plots

check_parameters()
experiment = open_experiment(preset, seed, data, runs)
measured = experiment.task(task).degradation is not None
chosen = [TRUTH, *(["degraded"] if measured else []), *methods.split(",")]
chosen = [name for name in chosen if measured or not name.startswith("cubic")]
folder = Path(out) if out else experiment.out / "14_segmentation"

# %% [markdown]
# ## The judge
# It reads FLAIR, T1ce, T1 and T2 (where a data set lacks the last two: FLAIR and T1ce) and answers with three regions
# that lie within each other: whole tumour (WT), tumour core (TC), enhancing tumour (ET). It has never seen a generated
# volume. It is trained once, with one seed, and judges all methods and seeds.

# %%
assert segmenter, "this notebook needs a judge: segmenter = 'own', or the file of a published one"
judges = open_judges(experiment, task, segmenter, sets=False)
if segmenter == "own":
    log = experiment.log(experiment.segmenter_run(judges.contrasts))
    figure = plots.loss_panels({"soft Dice loss and cross-entropy": {f"segmenter ({judges.contrasts})": log}})

# %%
options = {"split": split, "subjects": subjects, "samples": 1, "judges": judges}
reports = [evaluate(experiment, name, task, out=folder / f"{name}-{task}", **options)[0] for name in chosen]
metrics = pd.concat(reports)
metrics.to_csv(folder / "metrics.csv", index=False)

# %% [markdown]
# ## Look
# Outlines of what is found with each FLAIR; dotted, what is there. WT lives on the FLAIR: oedema is bright there and
# hardly anywhere else. TC and ET live on the T1ce, which is the true one for all columns: expect them to change little.

# %%
pairs, contrasts = experiment.subjects(split, task), experiment.subjects(split, judges.contrasts)
shown = contrasts[0]
pair = pairs.pair(shown.subject)
flairs = {name: pair.x0 if name == TRUTH else Samples(experiment, name, task).of(pair, 1)[0] for name in chosen}
outlines = {name: judges.segment(shown, flair)[0].numpy() for name, flair in flairs.items()}

# %%
from diffens_core.models.segmentation import regions_of

true = regions_of(shown.x0[0]).numpy()
at = plots.middle(true[1]) if true[1].any() else plots.middle(pair.brain.numpy())
images = {name: flair[0].numpy() for name, flair in flairs.items()}
figure = plots.segmentation_planes(images, outlines, true, at, f"{shown.subject}, preset {preset}, task {task}")
figure.savefig(folder / "segmentation.png")

# %% [markdown]
# ## Dice, distance
# Dice with a 95 % bootstrap interval over subjects (for three or more); the mean Hausdorff distance (mm; the larger of the
# 95th percentiles of both directions, as in MONAI). A region that neither has counts as Dice 1 and 0 mm; one that only one
# side has as 0 and 373 mm (the rule of BraTS).

# %%
from diffens_core import by_subject, with_intervals

scores = {metric: by_subject(metrics, metric, chosen) for metric in ("dice_wt", "dice_tc", "dice_et")}
table = pd.DataFrame({metric: with_intervals(columns) for metric, columns in scores.items()})
distances = {metric: by_subject(metrics, metric, chosen).mean() for metric in ("hd95_wt", "hd95_tc", "hd95_et")}
table.join(pd.DataFrame(distances).round(1))

# %% [markdown]
# ## Recovery
# How much of what degrading the FLAIR costs a method gets back: 0 % is the degraded FLAIR, 100 % the true one. It is a
# ratio of small differences: its interval (bootstrap over subjects) says how little a few subjects know about it. Where
# degrading costs nothing to speak of there is nothing to recover, and no number.

# %%
from diffens_core.evaluation.statistics import interval_text, recovery_interval

rows = {}
for name in chosen[2:] if measured else []:
    for metric, columns in scores.items():
        value, low, high = recovery_interval(columns[name], columns["degraded"], columns[TRUTH])
        rows.setdefault(name, {})[metric] = interval_text(value, low, high, digits=0)
pd.DataFrame(rows).T

# %% [markdown]
# ## How many subjects would it take?
# To tell methods apart by Dice (a single paired t test, 80 % power at p < 0.05), from the mean and the spread of the
# differences found here; p is of Wilcoxon's test, adjusted within each region. Small effects on a noisy measure take many
# subjects; the number of subjects of a study belongs beside its claims.

# %%
from diffens_core import comparisons

rivals = {method: chosen[k] for k, method in enumerate(chosen[2:], 1)}  # each against the one before it
tests = {metric: comparisons(columns, rivals) for metric, columns in scores.items()}
pd.concat(tests).style.format({"needed": "{:.0f}"}, precision=3, na_rep="")

# %% [markdown]
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
