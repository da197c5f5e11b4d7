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
# What the networks see decides what they can learn, and undocumented preprocessing is what users of published
# models complain of most. This notebook goes through every step from a file to a training example: the phantoms,
# the prepared layout, the intensity scale, and the operator `A` that degrades a FLAIR.
#
# | preset | what runs | time | memory |
# |---|---|---|---|
# | `smoke` | 4 mm phantoms | 10 seconds | 0.5 GB |
# | `demo` | 2 mm phantoms | 20 seconds on 2 CPU cores | 1 GB |
# | `gpu`, `paper` | 1 mm phantoms | a minute; the train split takes a few seconds a subject | 2 GB |

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
# Volumes are in RAS order, in a window centred on the brain, background exactly 0. Labels follow BraTS.

# %%
subject = subjects.subjects[0]
files = {path.name.removesuffix(".nii.gz"): load_volume(path) for path in sorted((root / subject).glob("*.nii.gz"))}
contrasts = {name: files[name].data for name in ("flair", "t1ce", "t1", "t2") if name in files}
labels = files["seg"].data if "seg" in files else 0 * contrasts["flair"]
at = plots.middle(labels > 0 if labels.any() else files["brain"].data > 0)
figure = plots.label_overlay(contrasts, labels, at, f"{subject}, {files['flair'].spacing} mm")

# %% [markdown]
# ## The scale
# Scanners have no unit: two subjects may differ by a factor of 200. The networks want [-1, 1]. The scale comes from
# percentiles within the brain, which one hot voxel cannot move, and, for the target, from its *degraded* version:
# at inference nothing else is there. A scale from the target itself would leak.

# %%
brain = files["brain"].data > 0
figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained", dpi=plots.DPI)
for name, volume in contrasts.items():
    scaled = fit_scale(volume, brain).apply(volume, brain)
    sns.kdeplot(volume[brain][::7], ax=axes[0], label=name)
    sns.kdeplot(scaled[brain][::7], ax=axes[1], label=name)
axes[0].set(title="as prepared", xlabel="intensity")
axes[1].set(title="as the networks see it", xlabel="intensity", xlim=(-1.05, 1.05))
_ = axes[0].legend(frameon=False)

# %% [markdown]
# ## The measurement
# $A$ replaces each block of 4 x 4 x 4 voxels by its mean. It is linear, symmetric, and idempotent: applying it twice
# changes nothing. So the nearest volume to $x$ that would have been measured as $y$ is $x - A x + y$.

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
# The projection takes the noise's block means away and keeps the rest: it repairs what was measured and nothing else.
#
# ## From volumes to training examples
# A 2D model trains on crops one voxel thick, a 3D network on boxes. Each example carries its coordinates, so that a
# crop knows where in the head it lies.

# %%
planes = {"axial": (*experiment.preset.shape[:2], 1), "sagittal": (1, *experiment.preset.shape[1:])}
for name, size in {**planes, "volume": None}.items():
    crops = subjects.crops(range(4), 0, Cropping(size, seed))
    print(f"{name:9} x0 {tuple(crops.x0.shape)}, y {tuple(crops.y.shape)}, coords {tuple(crops.coords.shape)}")

# %% [markdown]
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
