# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Does the model know where it is wrong?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/13_uncertainty.ipynb)
#
# A diffusion model answers with samples. Where they agree it is sure, where they differ it is not. That is worth
# something only if it is wrong where it is unsure, and about as much. This notebook draws several samples of the same
# scan and holds their spread against their error.
#
# **Goals.** Afterwards you can
# - compute a spread from samples, and the interval that a few of them imply;
# - say what MACE, calibration, coverage, correlation and sparsification each measure, and which can be had for nothing;
# - say whether, and where, these models know that they are wrong.
#
# **Before.** [`07_translate`](07_translate.ipynb): where samples come from. [`12_evaluate`](12_evaluate.ipynb):
# metrics.
#
# **Papers.** Diff-Ensembler / Score-Fusion: [arXiv:2501.07430](https://arxiv.org/abs/2501.07430) (MACE). Calibrated
# regression: [arXiv:1807.00263](https://arxiv.org/abs/1807.00263). Sparsification:
# [arXiv:1802.07095](https://arxiv.org/abs/1802.07095). Conformal prediction:
# [arXiv:2107.07511](https://arxiv.org/abs/2107.07511).
#
# | preset | what it does | time | memory |
# |---|---|---|---|
# | `smoke` | 4 mm phantoms, trains first: shows that it runs | 1.5 minutes of one core | 2 GB |
# | `demo` | five samples of three held-out phantoms, two methods | 3.5 minutes of one core | 3 GB |
# | `scan` | 1 mm, after training | a minute of one core a sample (estimated) | 6 GB (estimated) |
# | `gpu`, `paper` | five samples at 1 mm, after training | a minute per method and subject (estimated) | 24 GB |

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke", "samples": 3, "subjects": 2}}
preset: str = "demo"  # smoke | demo | scan | gpu | paper
task: str = "sr"  # sr | mt | both, or a line such as t1->t2
methods: str = "tpdm,ours-tpdm"  # such as draw different samples
split: str = "test"  # test; your own data may have val
subjects: int = 3  # how many held-out subjects; 0: all
samples: int = 5  # samples of each subject
seed: int = 0  # seed of training and sampling
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings and samples are kept; empty: runs/ in the checkout
out: str = ""  # where tables and volumes go; empty: figures/out/<preset>/13_uncertainty

# %%
from pathlib import Path

import pandas as pd
import torch

from diffens_core import check_parameters, evaluate, open_experiment, Samples
from diffens_core.evaluation.uncertainty import uncertainty
from diffens_core.show import plots

check_parameters()
experiment = open_experiment(preset, seed, data, runs)
chosen = methods.split(",")
folder = Path(out) if out else experiment.out / "13_uncertainty"

# %% [markdown]
# ## Draw the samples
# Sample $k$ of a subject depends on the seed, the subject and $k$ alone, so two methods start from the same noise, and
# a sixth sample does not change the first five.

# %%
options = {"split": split, "subjects": subjects, "samples": samples}
reports = [evaluate(experiment, name, task, out=folder / f"{name}-{task}", **options)[0] for name in chosen]
metrics = pd.concat(reports)
metrics.to_csv(folder / "metrics.csv", index=False)

# %% [markdown]
# ## Look
# Mean and standard deviation of K samples at voxel i,
#
# $$\begin{gathered}
# m_i = \frac1K \sum_k \hat x^{(k)}_i, \\[4pt]
# s_i = \sqrt{\frac{1}{K - 1} \sum_k \bigl( \hat x^{(k)}_i - m_i \bigr)^2}, \\[4pt]
# e_i = | m_i - x_{0,i} | .
# \end{gathered}$$
#
# Bright in both maps: unsure and wrong, as it should be. Bright in the error alone: wrong without knowing it. Spread and
# error have a scale each, the same for both methods: the maps say *where*, the numbers on the bars *how much*.
#
# **Predict first.** Which of the two bars will reach further: is the model too sure or too unsure? And which method has
# the larger spread, the average or its fusion?

# %%
pairs, drawn = experiment.subjects(split, task), {name: Samples(experiment, name, task) for name in chosen}
pair = pairs[0]
truth, at = pair.x0[0].numpy(), plots.middle(pair.brain.numpy())
found = {name: uncertainty(drawn[name].of(pair, samples)[:, 0], pair.x0[0]) for name in chosen}
figure = plots.uncertainty_planes(found, truth, at, f"{pair.subject}, preset {preset}, task {task}")
figure.savefig(folder / "uncertainty.png")

# %% [markdown]
# At `demo` the bar of the error reaches much further than that of the spread: both models are too sure. The average has the larger spread,
# 0.019 within the brain against 0.012. At `smoke` the average's spread is 0.26, which is noise, and the fusion's 0.007.
#
# Mean and standard deviation of every subject are there as NIfTI, in the unit of the data, to be opened over the scan
# in any viewer.

# %%
print(*sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*.nii.gz")), sep="\n")

# %% [markdown]
# ## The paper's table
# MACE (Eq. 7), with N voxels; smaller is better:
#
# $$\text{MACE} = \frac1N \sum_i \bigl| s_i - e_i \bigr|$$
#
# With it, how much PSNR and SSIM differ from sample to
# sample. MACE is no calibration error: a model without any spread has its mean error as MACE, so a better model has a
# smaller one whether or not its spread means anything. That is why the next section exists.
#
# **Predict first.** The fusion has the smaller error and the smaller spread. Whose MACE is smaller?

# %%
from diffens_core import heading, subject_means
from diffens_core.evaluation.names import name_of

values = subject_means(metrics).droplevel("task").unstack("metric")
together = values.xs("all samples", level="kind").groupby("method").mean().reindex(chosen)
single = values.xs("single sample", level="kind").groupby("method").mean().reindex(chosen)
spread = together[["std_of_psnr", "std_of_ssim"]]
maces = (1e4 * together[["mace", "mace_brain"]]).rename(columns=lambda m: name_of(m).heading("1e-4 of the window"))
single[["psnr", "ssim"]].join([spread, maces]).rename(columns=heading).style.format(
    dict.fromkeys(maces, "{:.1f}"), precision=4
)

# %% [markdown]
# The fusion's, at `demo` by a hundredth: it has less error, and less spread to match it with. MACE hardly tells the two
# apart, though one has two thirds of the other's spread.
#
# ## Calibration
# Take the samples at a voxel as draws from a Gaussian. How often is the truth within the central 50 %, 90 % that they
# imply? (Student's interval: mean and spread are themselves known from a few samples only.) A calibrated model lies on
# the diagonal, however few samples it drew. The interval of confidence $c$, for one more draw from the same Gaussian,
# is
#
# $$m_i \pm t_{K-1}\bigl( \tfrac{1 + c}{2} \bigr)\; s_i\, \sqrt{1 + 1/K}$$
#
# with the quantile $t_{K-1}$ of Student's distribution. Below the diagonal: too sure. No sample knows what the model
# has not learnt, so expect a trained model to be below. (At `smoke` samples of the average are mostly noise: unsure
# enough to be above.)
#
# - `ece`: mean distance from the diagonal (expected calibration error).
# - `coverage_range`: how often the truth is between the smallest and the largest of the samples; samples of the truth's
#   own distribution would have `expected_range`.
# - `correlation`: Spearman's, of spread and error; does it know *where*?
# - `ause` (area under the sparsification error): remove the most unsure voxels first; how far is the error of the rest
#   from the best possible order? 0 is best.
#
# **Predict first.** How many of the brain's voxels will lie within intervals that should hold 90 %?

# %%
names = ["ece_brain", "coverage_90_brain", "coverage_range_brain", "expected_range", "correlation_brain", "ause_brain"]
together[names + ["std_brain"]].rename(columns=heading).style.format("{:.3f}")

# %%
from diffens_core.evaluation.uncertainty import FRACTIONS, LEVELS, calibration_curve, sparsification

inside = {name: [] for name in chosen}
for name in chosen:
    for index in pairs.first(subjects):
        other = pairs[index]
        spread = uncertainty(drawn[name].of(other, samples)[:, 0], other.x0[0])
        inside[name].append(torch.stack([spread.std[other.brain], spread.error[other.brain]]))
inside = {name: torch.cat(parts, 1).double().numpy() for name, parts in inside.items()}
curves = {name: calibration_curve(*both, samples) for name, both in inside.items()}
calibration = pd.DataFrame({"calibrated": LEVELS} | curves, index=LEVELS)
panels = {"share of the subjects' voxels within": calibration}
figure = plots.level_curves(panels, xlabel="confidence of the interval", reference="calibrated")

# %%
left = {name: sparsification(std, error) for name, (std, error) in inside.items()}
left |= {f"{name}, best order": sparsification(error, error) for name, (_, error) in inside.items()}
curves = pd.DataFrame({name: curve / curve[0] for name, curve in left.items()}, index=FRACTIONS)
figure = plots.level_curves({"mean error of the rest, as a share": curves}, xlabel="share of voxels removed")

# %% [markdown]
# At `demo`, of task `sr`, 42 % with the average and 32 % with the fusion: far too few. Spread says something of where
# the error is, and the average's says more (correlation 0.34 against 0.23). On `both` and `mt` it says next to nothing,
# for either, over six phantoms ([uncertainty](../figures/results/all_methods.md#uncertainty)). At `smoke` the average's
# intervals, of noise, hold 96 %, and the fusion's 13 %.
#
# ## What was measured is certain
# For `sr` and `both` every sample reproduces the degraded FLAIR: its block means are those that were measured, to
# rounding. The spread is in what the measurement leaves open, and nowhere else.

# %%
if "measurement_error" in together:
    print("largest difference of any block mean of any sample:", f"{together['measurement_error'].max():.1e}")

# %% [markdown]
# ## What to take away
# - Samples give a spread for nothing. Whether it means anything has to be measured, against the error.
# - Spread has two jobs, how much and where: calibration and coverage for the one, correlation and sparsification for
#   the other. MACE mixes them with the size of the error.
# - At `demo` all methods are too sure, and a fusion more so than its average: what makes it accurate, that it answers
#   near the mean, takes its spread away.
# - What a model has not learnt it does not doubt. Spread of samples is no bound on the error.
#
# ## Quiz
# 1. Why Student's quantile and the factor $\sqrt{1 + 1/K}$?
# 2. A regression has no spread. What is its MACE?
# 3. All spreads are multiplied by ten. Which of the numbers change, and which do not?
# 4. Why should the truth lie within the range of five samples only two times in three, if they are perfect?
# 5. Every sample reproduces the block means. What does it say about the errors of neighbouring voxels in a block?
#
# <details><summary>Answers</summary>
#
# 1. Mean and spread are estimated from K samples; both errors widen the interval of the next draw.
# 2. Its mean absolute error.
# 3. MACE, calibration and coverage change. Correlation and sparsification know the order alone: they do not.
# 4. Truth and samples are six draws of one distribution; the truth is the smallest or the largest of them with
#    probability 2/6.
# 5. They have sum zero: where one is too bright others are too dark.
#
# </details>

# %% [markdown]
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
#
# Next: [`14_segmentation`](14_segmentation.ipynb), which asks whether the tumour is still found.
