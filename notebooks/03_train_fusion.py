# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Stage 2: fusing the planes with a 3D network
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/03_train_fusion.ipynb)
#
# Two 2D models disagree wherever one sees what the other cannot. A plain average (TPDM) believes both equally,
# everywhere. Here a 3D network reads both and learns
#
# $$\hat\epsilon = \sum_p w_p\, \epsilon_p + \lambda r \qquad \text{(Eq. 6)}$$
#
# a gate $w$ that says whom to trust at each voxel, and a residual $r$ for what neither knows. Both start at zero
# output, so training starts at exactly the average and can only learn to leave it.
#
# | preset | what runs | time | memory |
# |---|---|---|---|
# | `smoke` | two 2D models and their fusion on 4 mm phantoms | 30 seconds | 1 GB |
# | `demo` | loads the models that come with the package; another `seed` trains: 19 minutes on one CPU core | 2 minutes | 3 GB |
# | `gpu` | 1 mm, patches of 64 x 192 x 64, then whole volumes | about 15 minutes on a data-centre GPU (estimated) | 30 GB (estimated) |
# | `paper` | Table 10's network | 16 GPU days (the paper) | 40 GB (the paper) |

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke"}}
preset: str = "demo"  # smoke | demo | gpu | paper
task: str = "sr"  # sr | mt | both
method: str = "ours-tpdm"  # the fusion to train
seed: int = 0  # seed of training and sampling
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout

# %%
import torch

from diffens_core import plots
from diffens_core.evaluate import results_table
from diffens_core.experiment import open_experiment
from diffens_core.runs import build

experiment = open_experiment(preset, seed, data, runs)
run = experiment.runs_of(method, task)[0]
pair = experiment.subjects("test", task)[0]
x0, y = pair.x0[None], pair.y[None]

# %% [markdown]
# ## What goes in
# The noisy target, the conditions, brain mask, coordinates and each expert's prediction; and the experts' feature
# maps, brought onto the 3D grid by one strided convolution a level, chunk of slices by chunk. The finest maps also go
# straight to the residual by a linear readout: what they tell, the network need not find out first. Where the condition
# is background the residual is 0.

# %%
fresh = build(run)
count = sum(p.numel() for p in fresh.parameters() if p.requires_grad)
print(f"{run.folder.name}: {count / 1e6:.2f} M trainable parameters on top of {len(fresh.experts)} frozen experts")
for phase in run.train.phases:
    print(
        f"{phase.steps} steps, batches of {phase.batch}, "
        + (f"patches {phase.patch}" if phase.patch else "whole volumes")
    )

# %% [markdown]
# ## It starts at the average

# %%
average = experiment.model("tpdm", task).cpu()
fresh.experts.load_state_dict(average.experts.state_dict())
t = torch.tensor([500])
xt = fresh.schedule.add_noise(x0, torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)), t)
with torch.inference_mode():
    before = fresh.fuse(xt, y, t)
    print("largest difference from the average:", float((before.eps - average(xt, y, t)).abs().max()))

# %% [markdown]
# ## Train (Eq. 5)
# On patches, which are cheap, then on whole volumes. The 3D network works within the patch; the experts see the whole
# slices through it. Were the slices cut too, the experts' normalisation layers would see other statistics: in cubes of
# $48^3$ voxels their errors doubled, and a fusion that learnt to correct those was 0.9 dB *worse* than the average later on.
#
# The residual is small, and the 3D network gives it in a small unit: otherwise the first steps of the zero-initialised
# last layer overshoot, and the training is spent on the way back.

# %%
fusion = experiment.model(method, task)
figure = plots.training_curves({method: experiment.log(run)})

# %% [markdown]
# ## What it learnt
# One step, at several noise levels: the error of the implied clean volume, for each expert, their average, and the
# fusion. At preset `demo` the planes err differently at little noise, and averaging helps most; at high noise both miss the
# same detail.

# %%
device = next(fusion.parameters()).device
with torch.inference_mode():
    for level in (100, 300, 500, 700, 900):
        t = torch.tensor([level])
        xt = fusion.schedule.add_noise(x0, torch.randn(x0.shape, generator=torch.Generator().manual_seed(level)), t)
        fused = fusion.fuse(xt.to(device), y.to(device), t.to(device))
        guesses = torch.stack([*fused.eps_planes, fused.eps_planes.mean(0), fused.eps]).cpu()
        errors = [float((fusion.schedule.x0_from_eps(g, xt, t) - x0).square().mean().sqrt()) for g in guesses]
        names = [*experiment.preset.planes, "average", "fusion"]
        print(f"t = {level}: " + ", ".join(f"{n} {e:.4f}" for n, e in zip(names, errors)))

# %% [markdown]
# ## Whole samples
# The small gains of each step add up over a trajectory.

# %%
names = [f"palette-{plane}" for plane in experiment.preset.planes] + ["tpdm", method]
metrics, volumes = experiment.compare(names, task, [pair], experiment.preset.samples)
results_table(metrics, names).style.format("{:.3f}")

# %%
shown = {"truth": x0[0, 0].numpy(), **{name: volumes[name, pair.subject][0, 0].numpy() for name in names}}
at = plots.middle(pair.brain.numpy())
figure = plots.three_planes(shown, x0[0, 0].numpy(), at, f"{pair.subject}, preset {preset}")

# %% [markdown]
# ## Exercises
# 1. Set `lam` to 0 in the preset's `FusionConfig`: the gate alone. How much of the gain is left?
# 2. Why can a convex gate never be worse than the worst expert, and the residual be?
