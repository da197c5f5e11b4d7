# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own scan: from a NIfTI file to a translated one, and what to trust of it
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/15_your_own_scan.ipynb)
#
# Give the path of a file in the parameters below and run all cells. Without one, a held-out phantom is degraded and
# written as a file, and taken as if it came from a lab; then the truth is known, and what is made can be judged.
#
# **Goals.** Afterwards you can
# - say what a file must be, and see before anything is computed what will be made of it;
# - say which trained model fits it, and whether it is like what that model has seen;
# - read a result with its spread, and say what of it was measured and what was made up.
#
# **Before.** [`07_translate`](07_translate.ipynb); [`13_uncertainty`](13_uncertainty.ipynb) for the spread.
#
# **Papers.** Diff-Ensembler / Score-Fusion: [arXiv:2501.07430](https://arxiv.org/abs/2501.07430). What generated scans
# make up: [arXiv:1805.08841](https://arxiv.org/abs/1805.08841).
#
# | preset | what it does | time | memory |
# |---|---|---|---|
# | `smoke` | a phantom of 4 mm, by weights that come with the package | half a minute of one core | 1 GB |
# | `demo` | a phantom of 2 mm, by the same | half a minute of one core | 1 GB |
# | a file of your own | 240 x 240 x 155 voxels, by weights that come with the package | some minutes on a CPU | 4 GB |

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke"}}
lr: str = ""  # the degraded FLAIR, a NIfTI file on a coarse or a fine grid; empty: a phantom
contrasts: str = ""  # other contrasts: of each its name, an equals sign and its file; commas between them
mask: str = ""  # a file that is not 0 where the brain is; empty: all that is not 0
run: str = ""  # a run's name or folder; empty: the one that comes with the package and fits
samples: int = 3  # samples to draw; the result is their mean
steps: int = 3  # of sampling
preset: str = "demo"  # of the phantom: smoke | demo | scan | gpu | paper
task: str = "sr"  # of the phantom: sr | mt | both
split: str = "test"  # of the phantom
seed: int = 0  # of sampling
data: str = ""  # a prepared data set in place of phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
out: str = ""  # where results go; empty: figures/out/<preset>/15_your_own_scan

# %%
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from diffens_core import check_parameters, load_volume, open_experiment, translate_files
from diffens_core.data.volumes import bounding_box, save_image
from diffens_core.show import plots

check_parameters()
experiment = open_experiment(preset, seed, data, runs)
folder = Path(out) if out else experiment.out / "15_your_own_scan"
named = {"lr": lr, **dict(one.split("=", 1) for one in contrasts.split(",") if one)}
files = {name: Path(path) for name, path in named.items() if path}

# %% [markdown]
# ## The files
# A scan that can be translated is skull-stripped (or comes with a mask), with background 0; several contrasts of one head
# lie in the same space. Size, orientation, voxel size and unit may be any. ([From the scanner
# to a prepared set](../data_prep/README.md) says how to get there.)

# %%
pair = None
if not files:
    pair, wanted = experiment.subjects(split, task)[0], experiment.task(task)
    for name, channel in zip(wanted.conditions, pair.y.numpy()):
        if name in wanted.inputs:
            files["lr" if name.endswith("_lr") else name] = path = folder / f"{name}.nii.gz"
            image = np.where(channel > -1, pair.scale.invert(channel), np.float32(0))
            save_image(path, nib.Nifti1Image(image, pair.affine))
print(*(f"{name}: {path.name}" for name, path in files.items()), sep="\n")

# %% [markdown]
# What would be made of them (`diffens check FILE` prints the same). Blocks are looked for: a measurement may lie on the
# fine grid, each coarse voxel repeated, or on its own coarse one.

# %%
from diffens_core.check import check_file

table = pd.DataFrame({name: dict(check_file(path, experiment.runs)) for name, path in files.items()})
table.style.set_properties(**{"white-space": "normal", "text-align": "left"})

# %% [markdown]
# ## Which model
# The one whose task reads these files, and that was trained with voxels nearest in size to those that are made. What a
# network has learnt about edges it has learnt in voxels, not in millimetres.
#
# **Predict first.** A file has coarse voxels of 4 mm. There is a model for 1 mm and one for 2 mm, both for blocks of
# 4 x 4 x 4 voxels. Which fits, and how large are the voxels of the result?

# %%
from diffens_core.batch import loaded
from diffens_core.choice import run_for
from diffens_core.training.runs import likeness, resolve

chosen = resolve(run) if run else run_for(files)
model, config = loaded(chosen, 0)
wanted = config.translation
inputs = {wanted.given_as.get(name, name): path for name, path in files.items()}
print(f"{chosen.name}: task {config.task}, trained at {config.data.spacing:g} mm on {config.data.name}")

# %% [markdown]
# Each coarse voxel becomes 4 x 4 x 4 fine ones: 4 mm make 1 mm, so the model of 1 mm fits. (That is the file of the
# question. The phantom's fine voxels have 4 mm at `smoke` and 2 mm at `demo`: nearest to both is the model of 2 mm.)
#
# ## Is it like what the model has seen?
# A network always answers, also where it knows nothing. So the run keeps some numbers about each of its training heads:
# volume and lengths, brightness at some depths below the surface, its spread, the change from a voxel to the next along
# each axis. A new head has a distance from them, the root mean square of its standard scores,
#
# $$d = \sqrt{\frac{1}{n} \sum_{i=1}^{n} \left( \frac{v_i - \mu_i}{\sigma_i} \right)^2} ,$$
#
# and a warning is printed if it is further away than nine in ten of the training heads are from the others.
#
# **Predict first.** Which of the numbers will stand out if somebody gives a T1 in place of a FLAIR? And half a head?

# %%
import warnings

from diffens_core.translate import prepare

warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}")
prepared = prepare(inputs, wanted, config, Path(mask) if mask else None)
known = likeness(chosen)
numbers = prepared.numbers(wanted)
print(f"distance {known.distance(numbers):.1f}; nine in ten training heads: up to {known.farthest:.1f} from the others")
scores = pd.Series(known.deviations(numbers), name="standard scores")
scores[scores.abs().sort_values(ascending=False).index].head(6).to_frame().style.format("{:+.1f}")

# %% [markdown]
# A phantom of 4 mm (preset `smoke`) is unlike the phantoms of 2 mm that the model has seen: what lies near the surface is
# another tissue where voxels are coarser. A T1 stands out by its brightness near the surface, where grey matter is dark
# and not bright; half a head by its length.
#
# ## Translate
# The mean of some samples, and their standard deviation; both in the unit, on the grid and with the affine of the input.
# With weights of preset `scan` every second sample is of the mirrored head, and mirrored back. Heads are nearly symmetric,
# a network only as far as it was trained to be: its two answers differ, and their mean is on average nearer to the truth.
# (So take an even number there.) The spread then holds what differs between left and right, too.

# %%
result, spread = folder / "made.nii.gz", folder / "made_std.nii.gz"
options = {"samples": samples, "steps": steps, "seed": seed, "mask": Path(mask) if mask else None}
translate_files(model, config, inputs, result, std=spread if samples > 1 else None, likeness=known, **options)

# %%
from diffens_core.translate import to_input_grid

made, given, scale = load_volume(result).data, prepared.output.data, prepared.scale
nearest = to_input_grid(scale.invert(prepared.y[wanted.nearest].numpy()), prepared)
volumes = {"given": given, "interpolated" if wanted.degradation else "given, scaled": nearest, "made": made}
box = tuple(slice(low, high) for low, high in bounding_box(made != 0))
volumes = {name: scale.apply(v[box], made[box] != 0) for name, v in volumes.items()}
title = f"{chosen.name}, mean of {samples}"
figure = plots.three_planes(volumes, at=plots.middle(made[box] != 0), title=title)
figure.savefig(folder / "made.png")

# %% [markdown]
# ## What was measured, and what was made up
# Where there is a measurement, every block of the result has the mean that was measured: nothing in the result
# contradicts it. All that differs *within* a block is the model's guess.
#
# **Predict first.** A block has 64 voxels and one measured mean. How many of the 64 numbers of a result are free?

# %%
from diffens_core.data.conditions import evened_out

if wanted.degradation:
    inside, wide = prepared.window.crop(made), scale.high - scale.low
    off = evened_out(inside - prepared.window.crop(given), wanted.degradation)
    within = (inside - evened_out(inside, wanted.degradation))[prepared.brain]
    print(f"largest difference of a block's mean from the measurement: {np.abs(off).max() / wide:.1e} of the range")
    print(f"standard deviation within blocks: {within.std() / wide:.3f} of the range")

# %% [markdown]
# 63 of 64. The spread of the samples says where the model itself is unsure. It is no error bar: where all samples agree
# on something that is not there, it is 0. (In `13_uncertainty`, intervals that should hold 90 % hold a third to a half.)

# %%
if samples > 1:
    std = load_volume(spread).data[box] / (scale.high - scale.low)
    brain = made[box] != 0
    shown = {"made": volumes["made"], "std (white: 5 % of the range)": np.clip(40 * std - 1, -1, 1)}
    figure = plots.three_planes(shown, at=plots.middle(brain), title="where the samples differ")
    print(f"std in the brain: median {np.median(std[brain]):.4f}, 99 % of it below {np.quantile(std[brain], 0.99):.4f}")

# %% [markdown]
# ## Judged, where the truth is known
# For the phantom: PSNR and SSIM (within the window; higher is better) of the interpolation and of what was made.
# With a file of your own this is what you cannot know. Take a sharp scan, degrade it, translate it and compare:
# `python -m benchmarks.thick_slices` does so for thick slices.
#
# What becomes of tumours is judged in [14_segmentation](14_segmentation.ipynb), by Dice of a network that finds them in
# the true, the degraded and the translated FLAIR; on prepared scans of your own with labels:
# `papermill 14_segmentation.ipynb out.ipynb -p preset scan -p data DIR -p split val`.

# %%
from IPython.display import display

from diffens_core import heading, image_metrics

if pair is not None and given.shape == tuple(pair.x0.shape[1:]):
    judged = {"interpolated": nearest, "made": made} if wanted.degradation else {"made": made}
    whole = {name: pair.scale.apply(v, pair.brain.numpy()) for name, v in judged.items()}
    rows = {name: image_metrics(v, pair.x0[0].numpy(), pair.brain.numpy()) for name, v in whole.items()}
    table = pd.DataFrame(rows).T[["psnr", "psnr_brain", "ssim"]].rename(columns=heading)
    display(table.style.format("{:.3f}"))

# %% [markdown]
# ## What to take away
# - Look at what `check` says first: grid, blocks, values. Most bad results begin there.
# - Take the model that was trained with voxels of this size, and heed the warning: what is unlike the training heads is
#   translated all the same.
# - The block means were measured; everything finer was made up, plausibly.
# - A small spread is not a small error.
# - Research software: not for diagnosis. A lesion smaller than a block may vanish, or appear.
#
# ## Quiz
# 1. The result shows a small bright spot. Which two things would you look at before you believe it?
# 2. The file has voxels of 0.9 mm and blocks of 4 x 4 x 4. Is it resampled to 1 mm?
# 3. Why is there no warning for a head with a tumour, if half of the training heads had one?
# 4. A T1 is given as `--lr`. Does the projection notice?
# 5. Ten samples instead of three: what changes in the result, and what in the spread?
#
# <details><summary>Answers</summary>
#
# 1. The mean of its block in the measurement, and whether it is in every sample. Better: a contrast that was measured
#    sharply.
# 2. No. That would smear the blocks. The measurement is kept, and a warning says that voxels are of another size.
# 3. The distance is from what was seen; a tumour was.
# 4. No. The block means of the T1 are kept as exactly as those of a FLAIR. The distance notices.
# 5. The result becomes smoother, as it is a mean; the spread becomes better known, not smaller.
#
# </details>

# %% [markdown]
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
