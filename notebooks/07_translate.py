# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Inside a translation: trajectory, gate, projection
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/07_translate.ipynb)
#
# Sampling starts from noise and walks towards a brain. This notebook stops at every step to look: at the sample, at
# the clean estimate behind it, at the weight that the gate gives each plane, and at what the projection repairs.
#
# | preset | what runs | time | memory |
# |---|---|---|---|
# | `smoke` | 4 mm phantoms, trains first | 30 seconds | 1 GB |
# | `demo` | trained weights come with the package | 1 minute on 2 CPU cores | 2 GB |
# | `gpu`, `paper` | 1 mm, after training | a minute on a data-centre GPU (estimated) | 12 GB (estimated) |

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke"}}
preset: str = "demo"  # smoke | demo | scan | gpu | paper
task: str = "sr"  # sr | both, or another with a measurement
method: str = "ours-tpdm"  # a fusion
seed: int = 0  # seed of training and sampling
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
split: str = "test"  # which subjects to draw from
steps: int = 8  # sampling steps
sampler: str = "ddim"  # ddim | ddim:ETA (with fresh noise) | ancestral | dpm++

# %%
import torch

from diffens_core import autocast, check_parameters, image_metrics, METRICS, noise_for, open_experiment
from diffens_core.diffusion.sampler import timesteps
from diffens_core.show import plots
from diffens_core.show.widgets import browse

check_parameters()
experiment = open_experiment(preset, seed, data, runs)
pair = experiment.subjects(split, task)[0]
fusion = experiment.model(method, task)

# %% [markdown]
# ## The trajectory
# The sampler is a generator: it yields its state after every step, and the caller does with it what it likes.

# %%
device = next(fusion.parameters()).device
y = pair.y[None].to(device)
noise = noise_for(pair.subject, [0], seed, y.shape[2:], device)
degradation, fresh = experiment.task(task).degradation, torch.Generator().manual_seed(seed)
with torch.inference_mode(), autocast(device):
    walk = {"sampler": sampler, "generator": fresh}
    projected = list(fusion.trajectory(y, noise, steps, project=experiment.task(task).project, **walk))
    free = list(fusion.trajectory(y, noise, steps, **walk))
picked = sorted({0, steps // 4, steps // 2, 3 * steps // 4, steps - 1})
states = [projected[i] for i in picked]
shown = {f"t = {s.t}": (s.xt[0, 0].cpu().numpy(), s.x0_hat[0, 0].cpu().numpy()) for s in states}
figure = plots.trajectory(shown)

# %% [markdown]
# At preset `demo` the estimate is good long before the sample is clean: most of the walk only settles detail.
#
# ## Whom the gate trusts
# The weight of the first plane's expert at the states of the trajectory: 0.5 is TPDM's plain average.

# %%
times, brain = timesteps(fusion.schedule, steps), pair.brain.numpy()
gates = {}
with torch.inference_mode(), autocast(device):
    for i in picked:
        xt = noise if i == 0 else projected[i - 1].xt
        fused = fusion.fuse(xt, y, torch.tensor([times[i]], device=device))
        gates[f"t = {times[i]}"] = fused.gate[0, 0].float().cpu().numpy()
figure = plots.gate_maps(gates, experiment.preset.planes[0], plots.middle(brain), brain)

# %% [markdown]
# ## What the projection does
# How far the estimates are from what was measured, $A \hat x_0 = y$, with and without the projection.

# %%
errors = {
    name: [degradation.rms(state.x0_hat, y[:, :1]) for state in states]
    for name, states in {"projected": projected, "free": free}.items()
}
figure = plots.error_curves(errors, times)

# %%
truth = pair.x0[0].numpy()
ends = {"projected": projected[-1].x0_hat[0, 0].cpu().numpy(), "free": free[-1].x0_hat[0, 0].cpu().numpy()}
for name, volume in ends.items():
    found = image_metrics(volume, truth, brain)
    print(f"{name}: " + ", ".join(f"{metric} {found[metric]:.3f}" for metric in METRICS))
views = {"truth": truth, "degraded": pair.y[0].numpy(), **ends}
figure = plots.three_planes(views, truth, plots.middle(brain), pair.subject)

# %% [markdown]
# ## Look around
# A live kernel lets you move through the slices. (After reopening the notebook run this cell again.)

# %% tags=["skip-execution"]
browse(views)

# %% [markdown]
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
