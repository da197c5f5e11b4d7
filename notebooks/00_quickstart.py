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
# **What you need.** Nothing: the data are phantoms, made here from a brain template. No model saw the ones shown.
#
# | preset | what runs | time | memory |
# |---|---|---|---|
# | `smoke` | 4 mm phantoms, trains everything from scratch: shows that it runs, not that it is good | half a minute | 1 GB |
# | `demo` | 2 mm phantoms, trained weights come with the package | 2 minutes on 2 CPU cores | 2 GB |
# | `gpu`, `paper` | 1 mm; trains first, `gpu` about half an hour a task on an H100 (estimated) | see `05_train_2d` | 24 GB and more |

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

from diffens_core import by_subject, check_parameters, compare, open_experiment, results_table
from diffens_core.show import plots

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
# The methods, from doing nothing to Diff-Ensembler. "Projected" means that the result is corrected so that its
# block averages are exactly those that were measured; the diffusion methods do this in every step.
# Samples differ by their starting noise; their mean is closer to the truth in PSNR but smoother.

# %%
methods = {name: ["palette-axial", "palette-sagittal", "tpdm", "ours-tpdm"] for name in tasks}
methods |= {n: ["degraded", "cubic", "cubic-projected", *methods[n]] for n in tasks if experiment.task(n).degradation}
samples = experiment.preset.samples
results = {name: compare(experiment, methods[name], name, pairs[name], samples) for name in tasks}
metrics = pd.concat([table for table, _ in results.values()])
metrics.to_csv(folder / "metrics.csv", index=False)

# %% [markdown]
# ## How good is it?
# Means over the subjects, PSNR in decibels. `_brain` counts voxels within the brain only.

# %%
tables = {name: results_table(metrics[metrics["task"] == name], methods[name]) for name in tasks}
for name, table in tables.items():
    caption = f"task {name}, {len(pairs[name])} held-out subjects"
    display(table.style.format("{:.3f}", na_rep="").set_caption(caption))

# %%
lines = []
for name, table in tables.items():
    lines.append(f"\nTask {name}: {len(pairs[name])} subjects that no model saw, {samples} samples each")
    lines.append(table.to_string(float_format="{:.3f}".format, na_rep=""))
written = (folder / "table.txt").write_text("\n".join(lines) + "\n")

# %% [markdown]
# ## And how does it look?
# One sample each. Rows of images alternate with rows of absolute errors, on one scale. In the coronal rows, a plane
# that neither 2D model was trained on, averages tend to show stripes.

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
# ## Where do the average and its fusion differ?
# They come from the very same two 2D models. Of the subject with the median lead: the place where, in a cube of a few
# centimetres, the squared error falls most from the average (`tpdm`) to the fusion (`ours-tpdm`). A rule, so that nobody
# chooses.

# %%
for name in tasks:
    psnr = by_subject(metrics[metrics["task"] == name], "psnr", ["tpdm", "ours-tpdm"])
    subject = plots.median_subject(psnr["ours-tpdm"] - psnr["tpdm"])
    truth = next(pair.x0[0].numpy() for pair in pairs[name] if pair.subject == subject)
    shown = {m: results[name][1][m, subject][0, 0].numpy() for m in ("tpdm", "ours-tpdm")}
    place = plots.largest_gain(shown["tpdm"], shown["ours-tpdm"], truth)
    lead = (psnr["ours-tpdm"] - psnr["tpdm"])[subject]
    title = f"task {name}, {subject}: ours-tpdm {lead:+.2f} dB"
    figure = plots.zoomed({"truth": truth, **shown}, place, title)
    figure.savefig(folder / f"zoom_{name}.png")

# %% [markdown]
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
# ## What next
# - `04_data` shows the phantoms and how to prepare your own NIfTI files; `05_train_2d` and `06_train_fusion` build
#   the two stages; `07_translate` looks inside a sampling run.
# - Your own scan: `diffens translate --run fusion-sr-ours-tpdm --lr flair_lr.nii.gz --out flair.nii.gz`.
# - **Exercise.** Which method gains most from averaging its samples, and why? Why is the gain of `both` flattering
#   on phantoms? (Their contrasts are drawn from the same tissue maps.)
