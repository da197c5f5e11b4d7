# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Data: one layout, one scale, one measurement
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/04_data.ipynb)
#
# What the networks see decides what they can learn, and the weights of a published model are of little use where its
# preprocessing is not documented. This notebook goes through every step from a file to a training example: the
# phantoms, the prepared layout, the intensity scale, and the operator `A` that degrades a FLAIR.
#
# **Goals.** Afterwards you can
# - prepare your own files, and say what each file of a prepared set is;
# - compute the intensity scale, and say why it comes from the degraded image;
# - write the measurement as a matrix, project onto what was measured, and say what a projection repairs.
#
# **Before.** [`00_quickstart`](00_quickstart.ipynb). Matrices: transpose, orthogonal projection.
#
# **Papers.** Diff-Ensembler / Score-Fusion, whose numbers the equations have:
# [arXiv:2501.07430](https://arxiv.org/abs/2501.07430). BraTS and its labels:
# [arXiv:2107.02314](https://arxiv.org/abs/2107.02314). The template behind the phantoms, ICBM 152:
# [doi:10.1016/j.neuroimage.2010.07.033](https://doi.org/10.1016/j.neuroimage.2010.07.033). Projection onto a
# measurement within a sampler: [arXiv:2212.00490](https://arxiv.org/abs/2212.00490).
#
# | preset | what runs | time | memory |
# |---|---|---|---|
# | `smoke` | 4 mm phantoms | half a minute of one core | 0.5 GB |
# | `demo` | 2 mm phantoms | half a minute of one core, once the phantoms are there | 1 GB |
# | `scan` | 1 mm phantoms | a minute of one core, and ten seconds for each phantom made (estimated) | 2 GB |
# | `gpu`, `paper` | 1 mm phantoms | a minute of one core, and ten seconds for each phantom made (estimated) | 2 GB |

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke"}}
preset: str = "demo"  # smoke | demo | scan | gpu | paper
task: str = "both"  # sr | mt | both, or a line such as t1->t2
seed: int = 0  # seed of training and sampling (none here)
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept (none here)
split: str = "test"  # which subjects to look at

# %%
import matplotlib.pyplot as plt
import seaborn as sns
import torch

from diffens_core import check_parameters, load_volume, open_experiment
from diffens_core.data.crops import Cropping
from diffens_core.data.layout import read_dataset, read_participants
from diffens_core.data.measurement import BLOCKS
from diffens_core.data.volumes import fit_scale
from diffens_core.show import plots
from diffens_core.show.panels import DPI

check_parameters()
experiment = open_experiment(preset, seed, data, runs)
subjects, root = experiment.subjects(split, task), experiment.data.folder

# %% [markdown]
# ## The prepared layout
# Whatever the source (BraTS, open_ms, HCP, your own pairs, phantoms), `data_prep` writes the same folders. The split
# is by patient, drawn once, kept in a file, and never drawn again.
#
# ```
# diffens prepare brats --source BraTS2021/ --out data/brats
# diffens prepare pairs --table my_scans.csv --out data/mine
# ```

# %%
about = read_dataset(root)
print(*(f"{name}: {value}" for name, value in about.items() if not isinstance(value, (dict, list))), sep="\n")
read_participants(root).groupby("split").head(2)

# %% [markdown]
# ## One subject
# Volumes are in RAS order (X grows to the right, Y to anterior, Z to superior), in a window centred on the brain,
# background exactly 0. Labels follow BraTS. (In all pictures the right of the head is on the right.)
#
# **Predict first.** Fluid, as in the ventricles, is dark in one of the contrasts T1 and T2, bright in the other. And in
# a FLAIR, whose letters stand for fluid-attenuated inversion recovery? Where will the oedema be easiest to see?

# %%
subject = subjects.subjects[0]
files = {path.name.removesuffix(".nii.gz"): load_volume(path) for path in sorted((root / subject).glob("*.nii.gz"))}
contrasts = {name: files[name].data for name in ("flair", "t1ce", "t1", "t2") if name in files}
labels = files["seg"].data if "seg" in files else 0 * contrasts["flair"]
at = plots.middle(labels > 0 if labels.any() else files["brain"].data > 0)
figure = plots.label_overlay(contrasts, labels, at, f"{subject}, {files['flair'].spacing} mm")

# %% [markdown]
# In FLAIR and T1 fluid is dark, in T2 bright. Oedema is bright in T2 and FLAIR; in the FLAIR fluid does not compete
# with it, which is why it is the target here.
#
# ## The scale
# Scanners have no unit: two subjects may differ by a factor of 200. The networks want [-1, 1]. The scale is linear,
#
# $$\begin{gathered}
# x = 2\, \frac{I - \ell}{h - \ell} - 1, \\[4pt]
# \ell = \min(0, q_{0.5}), \\[4pt]
# h = \ell + \tfrac54\, (q_{99.5} - \ell),
# \end{gathered}$$
#
# with the percentiles $q_{0.5}$ and $q_{99.5}$ of the intensity $I$ within the brain, which one hot voxel hardly moves.
# The 99.5th becomes 0.6: what is above it is room for a target that is sharper, and so locally brighter, than what the
# scale was fitted on. For the target that is its *degraded* version: at inference nothing else is there. A scale from
# the target itself would leak. (Below, each contrast has its own.)
#
# **Predict first.** All contrasts are brought to one scale. Will their curves then have their peaks at one place?

# %%
brain = files["brain"].data > 0
figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained", dpi=DPI)
for name, volume in contrasts.items():
    scaled = fit_scale(volume, brain).apply(volume, brain)
    sns.kdeplot(volume[brain][::7], ax=axes[0], label=name)
    sns.kdeplot(scaled[brain][::7], ax=axes[1], label=name)
axes[0].set(title="as prepared", xlabel="intensity")
axes[1].set(title="as the networks see it", xlabel="intensity", xlim=(-1.05, 1.05), xticks=(-1, -0.5, 0, 0.5, 1))
_ = axes[0].legend(frameon=False)

# %% [markdown]
# They have not: a linear scale sets two points, 0 and the 99.5th percentile, and keeps the order and the shape between
# them. What is fluid and what is tissue is still to be learnt for each contrast.
#
# ## The measurement
# $A$ replaces each block of 4 x 4 x 4 voxels by its mean. On the grid of the target it is a square matrix (Eq. 8);
# with $A^+$ for its pseudo-inverse,
#
# $$\begin{gathered}
# A_{ij} = \begin{cases} 1/64 & i \text{ and } j \text{ lie in the same block} \\ 0 & \text{otherwise,} \end{cases}
# \\[4pt]
# \text{so } A = A^\top = A^2 = A^+ .
# \end{gathered}$$
#
# It is the orthogonal projection onto volumes that are constant within blocks. So the nearest volume to $x$ that would
# have been measured as $y = A x_0$ is
#
# $$\begin{gathered}
# x + A^+ (y - A x) = x - A x + y, \\[4pt]
# \text{and its error is } (I - A)(x - x_0) .
# \end{gathered}$$
#
# In code `BLOCKS.degrade` is $A$, `BLOCKS.measure` gives each block mean once, and `BLOCKS.project` is the projection.
#
# **Predict first.** What share of the numbers is kept? And of noise on every voxel, how much does the projection take
# away: nearly all, half, or hardly any?

# %%
pair = experiment.subjects(split, "sr")[0]
x0, y = pair.x0[None], pair.y[None, :1]  # y also holds an interpolation of the measurement
noisy = x0 + 0.3 * torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
fixed = BLOCKS.project(noisy, y)
print("numbers kept:", BLOCKS.measure(x0).numel(), "of", x0.numel())
print(f"largest A A x - A x: {(BLOCKS.degrade(y) - y).abs().max():.1e}")
print(f"largest A project(x, y) - y: {(BLOCKS.degrade(fixed) - y).abs().max():.1e}")

# %%
views = {"target": x0, "degraded": y, "target + noise": noisy, "projected": fixed}
figure = plots.three_planes({k: v[0, 0].numpy() for k, v in views.items()}, x0[0, 0].numpy())

# %% [markdown]
# A sixty-fourth is kept, but for blocks that the border cuts, and the projected volume looks as noisy as before: of
# white noise only its block means, a sixty-fourth of its energy, are taken away. The projection repairs what was
# measured and nothing else.
#
# ## From volumes to training examples
# A 2D model trains on crops one voxel thick, a 3D network on boxes. Each example carries its coordinates, so that a
# crop knows where in the head it lies.
#
# **Predict first.** In the task `both` the conditions are a degraded FLAIR and a T1ce. How many channels has `y`?

# %%
planes = {"axial": (*experiment.preset.shape[:2], 1), "sagittal": (1, *experiment.preset.shape[1:])}
for name, size in {**planes, "volume": None}.items():
    crops = subjects.crops(range(4), 0, Cropping(size, seed))
    print(f"{name:9} x0 {tuple(crops.x0.shape)}, y {tuple(crops.y.shape)}, coords {tuple(crops.coords.shape)}")

# %% [markdown]
# Three at all presets but `paper`: the measurement, a spline through it, and the T1ce.
#
# ## What to take away
# - One layout for all sources; the split is by patient, drawn once and kept in a file.
# - The scale is linear, robust, and comes from what is there at inference. Anything else leaks the target.
# - The measurement is an orthogonal projection. What was measured can be restored exactly, at any time, for nothing.
# - It restores a sixty-fourth of the numbers. The rest is what models are for.
#
# ## Quiz
# 1. Why is the split by patient, and not by scan?
# 2. Why is the target's scale not fitted on the target, which is there in training?
# 3. Show that $A^2 = A$.
# 4. $x$ and $x_0$ differ by a constant within each block. What is left of the error after the projection?
# 5. A volume agrees with the measurement. Is it a good translation?
#
# <details><summary>Answers</summary>
#
# 1. Two scans of one head are alike: a model that learnt one by heart would look good on the other.
# 2. In training it is, at inference not. The network would learn on a scale that it never meets again.
# 3. The mean of a block whose voxels all are its mean is that mean.
# 4. Nothing: such an error is within what was measured.
# 5. Not by that: the degraded FLAIR itself agrees.
#
# </details>

# %% [markdown]
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
#
# Next: [`05_train_2d`](05_train_2d.ipynb), where a diffusion model of one plane learns from such slices.
