# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Quickstart: from a blurred brain to a sharp one
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/00_quickstart.ipynb)
#
# A FLAIR scan has lost its detail: every block of 4 x 4 x 4 voxels was averaged into one number. This notebook
# brings a plausible sharp volume back, in two settings: from the degraded FLAIR alone (`sr`), and with the help
# of a sharp T1ce scan of the same head (`both`).
#
# **How.** Two 2D diffusion models, one for axial and one for sagittal slices, each guess the noise in every slice
# of a noisy volume. Neither knows what its neighbouring slices look like. A 3D network reads both guesses and the
# features behind them, decides voxel by voxel whom to trust, and adds what neither saw. This happens in every step
# of the diffusion: that is **Diff-Ensembler**. Averaging the two guesses instead is **TPDM**.
#
# **Goals.** Afterwards you can
# - translate a scan by one call, and read the table of metrics that compares methods;
# - say in one sentence each what a 2D diffusion model, an average of two and their fusion do;
# - tell what of a result comes from another scan, from the method, and from averaging samples.
#
# **Before.** Nothing: the data are phantoms, made here from a brain template. No model saw the ones shown. The path
# through the notebooks goes on with [`01_scores_in_1d`](01_scores_in_1d.ipynb).
#
# **Papers.** Diff-Ensembler, later Score-Fusion: [arXiv:2501.07430](https://arxiv.org/abs/2501.07430). TPDM, the
# average: [arXiv:2303.08440](https://arxiv.org/abs/2303.08440). Palette, the 2D model:
# [arXiv:2111.05826](https://arxiv.org/abs/2111.05826).
#
# | preset | what runs | time | memory |
# |---|---|---|---|
# | `smoke` | 4 mm phantoms, trains everything from scratch: shows that it runs, not that it is good | 2 minutes of one core | 1 GB |
# | `demo` | 2 mm phantoms, trained weights come with the package | 3.5 minutes of one core | 2 GB |
# | `scan` | 1 mm phantoms; trains first, 100 minutes of one core a task, 200 for `mt` | see `06_train_fusion` | 11 GB |
# | `gpu`, `paper` | 1 mm; trains first, `gpu` about half an hour a task on an H200 (from the steps measured) | see `05_train_2d` | a card of 16 GB ([computed](../figures/results/memory.md)) |

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke"}}
preset: str = "demo"  # smoke | demo | scan | gpu | paper
task: str = "both,sr"  # one task or several, separated by commas
subjects: int = 2  # how many held-out subjects; 0: all
seed: int = 0  # seed of training and sampling
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
split: str = "test"  # which subjects to translate
out: str = ""  # where results go; empty: figures/out/<preset>/

# %%
from pathlib import Path

import pandas as pd
from IPython.display import display

from diffens_core import by_subject, check_parameters, compare, heading, open_experiment, results_table
from diffens_core.show import plots, zooms

check_parameters()
experiment = open_experiment(preset, seed, data, runs)
tasks = task.split(",")
folder = Path(out) if out else experiment.out
folder.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## The subjects
# Each has a target (the true FLAIR), which stays hidden from the methods, and conditions.

# %%
pairs = {name: experiment.subjects(split, name) for name in tasks}
pairs = {name: [found[i] for i in found.first(subjects)] for name, found in pairs.items()}
first = pairs[tasks[0]][0]
channels = experiment.task(tasks[0]).conditions
shown = {"FLAIR (target)": first.x0[0].numpy()}
shown |= {name: channel.numpy() for name, channel in zip(channels, first.y)}
at = plots.middle(first.brain.numpy())
figure = plots.three_planes(shown, at=at, title=f"{first.subject}: target and conditions")

# %% [markdown]
# ## Translate
# The methods, from doing nothing to Diff-Ensembler. In each of its steps a diffusion model guesses the noise in a noisy
# volume $x_t$, given the conditions $y$. With $\epsilon_{\text{ax}}$ and $\epsilon_{\text{sag}}$ for the guesses of the
# two 2D models (`palette-axial`, `palette-sagittal`), average (`tpdm`) and fusion (`ours-tpdm`) are
#
# $$\begin{gathered}
# \hat\epsilon_{\text{average}} = \tfrac12\, (\epsilon_{\text{ax}} + \epsilon_{\text{sag}}), \\[4pt]
# \hat\epsilon_{\text{fusion}} = w\, \epsilon_{\text{ax}} + (1 - w)\, \epsilon_{\text{sag}} + \lambda r \quad \text{(Eq. 6)}
# \end{gathered}$$
#
# where $w$ and $r$, one number each a voxel, come from the 3D network. "Projected" means that the result is corrected
# so that its block averages are exactly those that were measured; the diffusion methods do this in every step. Samples
# differ by their starting noise; their mean is closer to the truth in PSNR but smoother.

# %%
methods = {name: ["palette-axial", "palette-sagittal", "tpdm", "ours-tpdm"] for name in tasks}
methods |= {n: ["degraded", "cubic", "cubic-projected", *methods[n]] for n in tasks if experiment.task(n).degradation}
samples = experiment.preset.samples
results = {name: compare(experiment, methods[name], name, pairs[name], samples) for name in tasks}
metrics = pd.concat([table for table, _ in results.values()])
metrics.to_csv(folder / "metrics.csv", index=False)

# %% [markdown]
# ## How good is it?
# Means over the subjects. The columns *in brain* count voxels within the brain only. With $R$ for the range of the
# truth,
#
# $$\text{PSNR} = 10 \log_{10} \frac{R^2}{\text{mean}\, (\hat x_0 - x_0)^2},$$
#
# so 3 dB more is half of the squared error.
#
# **Predict first.** What brings more: to have the T1ce as well (`both` against `sr`), or to fuse instead of averaging
# (`ours-tpdm` against `tpdm`)? And which of the methods gains least when its samples are averaged?

# %%
tables = {name: results_table(metrics[metrics["task"] == name], methods[name]) for name in tasks}
tables = {name: table.rename(columns=heading) for name, table in tables.items()}
for name, table in tables.items():
    caption = f"task {name}, {len(pairs[name])} held-out subjects"
    display(table.style.format("{:.3f}", na_rep="").set_caption(caption))

# %% [markdown]
# At `demo` the T1ce brings more than six decibels, the fusion 0.7 (`sr`) and 2 (`both`): what is known counts more than
# how it is used. The fusion gains least from averaging its samples: it was trained on squared error, so each of its
# samples is nearer to their mean. At `smoke` the 2D models are hardly trained, and worse than doing nothing; what the
# fusion gains on them there is no measure of it.

# %%
lines = []
for name, table in tables.items():
    lines.append(f"\nTask {name}: {len(pairs[name])} subjects that no model saw, {samples} samples each")
    lines.append(table.to_string(float_format="{:.3f}".format, na_rep=""))
written = (folder / "table.txt").write_text("\n".join(lines) + "\n")

# %% [markdown]
# ## And how does it look?
# One sample each. Rows of images alternate with rows of absolute errors, on one scale.
#
# **Predict first.** Where in the head will the errors be that are left: in flat tissue, at borders, in the tumour?

# %%
shown = {"truth": first.x0[0].numpy()}
for name in tasks:
    volumes = results[name][1]
    columns = {m: m if m in ("degraded", "cubic-projected") else f"{m}\n({name})" for m, _ in volumes}
    wanted = [m for m in columns if not m.startswith("palette") and m != "cubic"]
    shown |= {columns[m]: volumes[m, first.subject][0, 0].numpy() for m in wanted}
figure = plots.three_planes(shown, first.x0[0].numpy(), at, f"{first.subject}, preset {preset}: one sample each")
figure.savefig(folder / "translation.png")

# %% [markdown]
# At `demo` the bright lines of the error maps are borders: the rim of the brain, sulci, ventricles. Where within its
# block a border runs cannot be told from the block's mean. With the T1ce (`both`), which shows where borders are, they
# fade. The average of `sr` has a faint grid in flat tissue, lines of its two experts' slices
# ([`05_train_2d`](05_train_2d.ipynb) shows them one by one); its fusion has none.
#
# ## Where do the average and its fusion differ?
# They come from the very same two 2D models. Of the subject with the median lead: squares of the cortex, enlarged, there
# where they hold most of its edges. A rule that knows no method, so that nobody chooses. Below each square is its
# difference from the truth: red is too bright, blue too dark.
#
# **Predict first.** In the squares: does the fusion add what the average lacks, or take away what it has too much?

# %%
for name in tasks:
    psnr = by_subject(metrics[metrics["task"] == name], "psnr", ["tpdm", "ours-tpdm"])
    subject = plots.median_subject(psnr["ours-tpdm"] - psnr["tpdm"])
    pair = next(pair for pair in pairs[name] if pair.subject == subject)
    truth = pair.x0[0].numpy()
    shown = {m: results[name][1][m, subject][0, 0].numpy() for m in ("tpdm", "ours-tpdm")}
    lead = (psnr["ours-tpdm"] - psnr["tpdm"])[subject]
    title = f"task {name}, {subject}: PSNR of ours-tpdm {lead:+.2f} dB"
    figure = zooms.zoomed(shown, truth, zooms.cortex(truth, pair.brain.numpy()), title)
    figure.savefig(folder / f"zoom_{name}.png")

# %% [markdown]
# At `demo` it adds. In `both` the tumour beside the cortex is brighter, as it should be: what is blue in the average's
# difference is paler and smaller in the fusion's. In `sr` lines of fluid are a little darker and narrower, and most of
# what is red and blue stays: half a decibel is little in a picture. At `smoke` it takes away: noise.
#
# ## Take it with you
# The volumes as NIfTI, in the unit and with the affine of the data: open them in any viewer.

# %%
from diffens_core.experiment.samples import save_translation

for name in tasks:
    for pair in pairs[name]:
        mean = results[name][1]["ours-tpdm", pair.subject].mean(0)
        save_translation(folder / f"{pair.subject}_{name}_flair.nii.gz", mean, pair)
        save_translation(folder / f"{pair.subject}_truth_flair.nii.gz", pair.x0, pair)
print(*sorted(path.name for path in folder.glob("*.nii.gz")), sep="\n")

# %% [markdown]
# ## What to take away
# - Two 2D models, one 3D network that fuses them in every step: that is the method. An average is its special case.
# - Another scan of the same head is worth more than any method here.
# - Means of samples have a higher PSNR and are smoother. Compare like with like: single samples, or means.
# - Numbers on phantoms flatter, and at `smoke` they say nothing but that the code runs.
#
# ## Quiz
# 1. With which $w$ and $r$ is the fusion the average?
# 2. A method has 3 dB more than another. By what factor does its root-mean-square error differ?
# 3. Why can a result that agrees with every measured block mean still be wrong?
# 4. Why is PSNR within the brain lower than that of the whole volume?
# 5. Why does the mean of many samples have a higher PSNR than each of them, and is it a more plausible scan?
#
# <details><summary>Answers</summary>
#
# 1. $w = 1/2$ and $r = 0$ at every voxel. There its training starts.
# 2. By $10^{3/20} = 1.41$: half of the squared error.
# 3. 63 of 64 numbers in a block were lost; many volumes have the same means.
# 4. The background is black in truth and result, so it adds voxels without error.
# 5. Errors of samples differ, and in part cancel in the mean. No: it is blurred where the samples disagree.
#
# </details>

# %% [markdown]
# ## What next
# - [`01_scores_in_1d`](01_scores_in_1d.ipynb), where a diffusion model is a formula and all of it can be checked.
# - [`04_data`](04_data.ipynb) shows the phantoms and how to prepare your own NIfTI files;
#   [`05_train_2d`](05_train_2d.ipynb) and [`06_train_fusion`](06_train_fusion.ipynb) build the two stages;
#   [`07_translate`](07_translate.ipynb) looks inside a sampling run.
# - Your own scan: [`15_your_own_scan`](15_your_own_scan.ipynb), or
#   `diffens translate --lr flair_lr.nii.gz --out flair.nii.gz`.
# - **Exercise.** Which method gains most from averaging its samples, and why? Why is the gain of `both` flattering
#   on phantoms? (Their contrasts are drawn from the same tissue maps.)
