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
# | preset | what it does | time | memory |
# |---|---|---|---|
# | `smoke` | 4 mm phantoms, trains first: shows that it runs | a minute | 2 GB |
# | `demo` | five samples of three held-out phantoms, two methods | 4 minutes on two cores | 3 GB |
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
# Sample $k$ of a subject depends on the seed, the subject and $k$ alone, so two methods start from the same noise, and a
# sixth sample does not change the first five.

# %%
options = {"split": split, "subjects": subjects, "samples": samples}
reports = [evaluate(experiment, name, task, out=folder / f"{name}-{task}", **options)[0] for name in chosen]
metrics = pd.concat(reports)
metrics.to_csv(folder / "metrics.csv", index=False)

# %% [markdown]
# ## Look
# Bright in both maps: unsure and wrong, as it should be. Bright in the error alone: wrong without knowing it. The maps
# share one scale.

# %%
pairs, drawn = experiment.subjects(split, task), {name: Samples(experiment, name, task) for name in chosen}
pair = pairs[0]
truth, at = pair.x0[0].numpy(), plots.middle(pair.brain.numpy())
found = {name: uncertainty(drawn[name].of(pair, samples)[:, 0], pair.x0[0]) for name in chosen}
figure = plots.uncertainty_planes(found, truth, at, f"{pair.subject}, preset {preset}, task {task}")
figure.savefig(folder / "uncertainty.png")

# %% [markdown]
# Mean and standard deviation of every subject are there as NIfTI, in the unit of the data, to be opened over the scan in
# any viewer.

# %%
print(*sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*.nii.gz")), sep="\n")

# %% [markdown]
# ## The paper's table
# MACE (Eq. 7) is the mean of | std - error |; smaller is better. With it, how much PSNR and SSIM differ from sample to
# sample. MACE is no calibration error: a model without any spread has its mean error as MACE, so a better model has a
# smaller one whether or not its spread means anything. That is why the next section exists.

# %%
from diffens_core import subject_means

values = subject_means(metrics).droplevel("task").unstack("metric")
together = values.xs("all samples", level="kind").groupby("method").mean().reindex(chosen)
single = values.xs("single sample", level="kind").groupby("method").mean().reindex(chosen)
spread = together[["std_of_psnr", "std_of_ssim"]]
maces = (1e4 * together[["mace", "mace_brain"]]).rename(columns="{}, 1e-4".format)
single[["psnr", "ssim"]].join([spread, maces]).style.format(dict.fromkeys(maces, "{:.1f}"), precision=4)

# %% [markdown]
# ## Calibration
# Take the samples at a voxel as draws from a Gaussian. How often is the truth within the central 50 %, 90 % that they
# imply? (Student's interval: mean and spread are themselves known from a few samples only.) A calibrated model lies on
# the diagonal, however few samples it drew. Below it: too sure. No sample knows what the model has not learnt, so expect
# a trained model to be below. (At `smoke` samples are mostly noise: unsure enough to be above.)
#
# - `ece`: mean distance from the diagonal (expected calibration error).
# - `coverage_range`: how often the truth is between the smallest and the largest of the samples; samples of the truth's
#   own distribution would have `expected_range`.
# - `correlation`: Spearman's, of spread and error; does it know *where*?
# - `ause`: remove the most unsure voxels first; how far is the error of the rest from the best possible order? 0 is best.

# %%
names = ["ece_brain", "coverage_90_brain", "coverage_range_brain", "expected_range", "correlation_brain", "ause_brain"]
together[names + ["std_brain"]].style.format("{:.3f}")

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
# ## What was measured is certain
# For `sr` and `both` every sample reproduces the degraded FLAIR: its block means are those that were measured, to
# rounding. The spread is in what the measurement leaves open, and nowhere else.

# %%
if "measurement_error" in together:
    print("largest difference of any block mean of any sample:", f"{together['measurement_error'].max():.1e}")

# %% [markdown]
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
