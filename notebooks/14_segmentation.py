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
# **Goals.** Afterwards you can
# - read Dice, a Hausdorff distance and Recovery, and say where each is undefined or misleading;
# - say which regions can depend on the FLAIR at all, and check it;
# - say how many subjects a claim about tumours takes, and whether a table has them.
#
# **Before.** [`12_evaluate`](12_evaluate.ipynb): intervals and paired tests.
#
# **Papers.** Diff-Ensembler / Score-Fusion: [arXiv:2501.07430](https://arxiv.org/abs/2501.07430) (Recovery). SwinUNETR:
# [arXiv:2201.01266](https://arxiv.org/abs/2201.01266). BraTS, its regions and its rules:
# [arXiv:2107.02314](https://arxiv.org/abs/2107.02314). Which metric for which question:
# [arXiv:2206.01653](https://arxiv.org/abs/2206.01653).
#
# | preset | what it does | time | memory |
# |---|---|---|---|
# | `smoke` | a segmenter after a few steps: shows that it runs, finds little | 1.5 minutes of one core | 2 GB |
# | `demo` | a small segmenter at 2 mm, which comes with the package; six held-out phantoms | 3.5 minutes of one core | 3 GB |
# | `scan` | 1 mm | 28 minutes of one CPU core once, then 15 for three heads by five methods | 3 GB |
# | `gpu` | a mid-size one at 1 mm | half an hour once, then seconds (estimated) | a card of 16 GB ([computed](../figures/results/memory.md)) |
# | `paper` | SwinUNETR as published; or give the path of its BraTS 2021 checkpoint in `segmenter` | days; minutes | a card of 16 GB (computed) |

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
# hardly anywhere else. TC and ET live on the T1ce, which is the true one for all columns.
#
# **Predict first.** Which of the three outlines will change most from column to column, and which hardly?

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
# At `demo`: WT changes most, and TC and ET a little, though their contrast is the true one.
#
# ## Dice, distance
# With $F$ for what is found and $T$ for what is there,
#
# $$\text{Dice} = \frac{2\, |F \cap T|}{|F| + |T|} .$$
#
# Dice with a 95 % bootstrap interval over subjects (for three or more); the mean Hausdorff distance (mm; the larger of
# the 95th percentiles of both directions, as in MONAI). A region that neither has counts as Dice 1 and 0 mm; one that
# only one side has as 0 and 373 mm (the rule of BraTS).
#
# **Predict first.** The degraded FLAIR has lost 63 of 64 numbers. How much Dice of the whole tumour will it cost: most
# of it, half, or a tenth?

# %%
from diffens_core import by_subject, heading, with_intervals

scores = {metric: by_subject(metrics, metric, chosen) for metric in ("dice_wt", "dice_tc", "dice_et")}
table = pd.DataFrame({metric: with_intervals(columns) for metric, columns in scores.items()})
distances = {metric: by_subject(metrics, metric, chosen).mean() for metric in ("hd95_wt", "hd95_tc", "hd95_et")}
table.join(pd.DataFrame(distances).round(1)).rename(columns=heading)

# %% [markdown]
# At `demo`, on `sr`, a tenth: 0.884 with the true FLAIR, 0.789 with the degraded one. Core and enhancing tumour lose
# less, 0.04 and 0.02, but they do lose: the judge reads all contrasts together, and a blurred one disturbs it. At
# `smoke` it finds a third of the whole tumour and next to nothing of the rest, and no number of it means anything.
#
# ## Recovery
# How much of what degrading the FLAIR costs a method gets back: 0 % is the degraded FLAIR, 100 % the true one,
#
# $$\text{Recovery} = \frac{\text{Dice}_{\text{method}} - \text{Dice}_{\text{degraded}}}
# {\text{Dice}_{\text{true}} - \text{Dice}_{\text{degraded}}} \cdot 100\,\% .$$
#
# It is a ratio of small differences: its interval (bootstrap over subjects) says how little a few subjects know about
# it. Where degrading costs nothing to speak of there is nothing to recover, and no number.
#
# **Predict first.** The fusion is ahead of the average in PSNR on every subject. Will the intervals of their Recovery
# be apart?

# %%
from diffens_core.evaluation.statistics import interval_text, recovery_interval

rows = {}
for name in chosen[2:] if measured else []:
    for metric, columns in scores.items():
        value, low, high = recovery_interval(columns[name], columns["degraded"], columns[TRUTH])
        region = metric.removeprefix("dice")
        rows.setdefault(name, {})[heading(f"recovery{region}")] = interval_text(value, low, high, digits=0)
pd.DataFrame(rows).T

# %% [markdown]
# At `demo` they overlap, on six subjects: 27 % [20, 33] and 37 % [25, 52] of the whole tumour. Of the enhancing tumour
# interpolation and average are *behind* the degraded FLAIR, by about 15 and 10 %, and the fusion's 10 % [-28, 44] may
# be anything. And every method leaves most of the loss of the whole tumour where it was.
#
# ## How many subjects would it take?
# To tell methods apart by Dice (a single paired t test, 80 % power at p < 0.05), from the mean and the spread of the
# differences found here; p is of Wilcoxon's test, adjusted within each region. Small effects on a noisy measure take
# many subjects; the number of subjects of a study belongs beside its claims.

# %%
from diffens_core import comparisons

rivals = {method: chosen[k] for k, method in enumerate(chosen[2:], 1)}  # each against the one before it
tests = {metric: comparisons(columns, rivals) for metric, columns in scores.items()}
pd.concat(tests).rename(index=heading).style.format({"needed": "{:.0f}"}, precision=3, na_rep="")

# %% [markdown]
# At `demo` the fusion is ahead of the average on five of six whole tumours by 0.010, behind on one; after adjustment p
# is 0.19. Forty further phantoms ([tumours](../figures/results/all_methods.md#tumours)) told the two apart: ahead by
# 0.005 of Dice on 31 and behind on 9, 6 points of Recovery [3, 9]; of the core ahead on 26 and behind on the others; of
# the enhancing tumour no difference, -3 points [-19, 8]. A lead of 0.7 dB on every one of them is a lead of 0.005 in
# what a tumour is found by.
#
# ## What to take away
# - A better image is not yet a better finding: measure the finding.
# - A region that is seen on a contrast which was not made cannot tell much about a method.
# - Recovery is a ratio of small differences; without its interval it says little, and where nothing was lost it is not
#   defined.
# - Six subjects show a loss of a tenth of Dice. They do not tell methods apart that differ by a hundredth.
# - Say where a method is behind, by region and by number, in the same table as where it is ahead.
#
# ## Quiz
# 1. Degrading costs 0.004 Dice, and a method gets 0.003 back. What is its Recovery, and what is it worth?
# 2. Can Recovery be above 100 %, or below 0?
# 3. A method finds nothing where there is nothing. What is its Dice?
# 4. Why is the test paired?
# 5. One judge, trained once, ranks two methods. What else could have changed the rank?
#
# <details><summary>Answers</summary>
#
# 1. 75 %, and nothing: both differences are as small as chance.
# 2. Both. Above: the judge likes the made volume better than the true one, by its smoothness or by chance. Below: the
#    method is worse than the degraded image.
# 3. 1 by the rule used here; by the formula it is 0/0.
# 4. Some tumours are hard for all methods. The difference on one tumour is known far better than either Dice.
# 5. Another training of the judge, of the methods, another sample, other subjects.
#
# </details>

# %% [markdown]
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
#
# Next: [`15_your_own_scan`](15_your_own_scan.ipynb), where nobody knows the truth.
