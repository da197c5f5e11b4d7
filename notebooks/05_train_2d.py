# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Stage 1: a 2D diffusion model per plane
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/05_train_2d.ipynb)
#
# A diffusion model learns to undo noise. Here it learns it on slices, which are many and small, where volumes are few
# and large. The price shows at the end: slices that are sharp one by one do not fit together.
#
# | preset | what runs | time | memory |
# |---|---|---|---|
# | `smoke` | one 2D model on 4 mm phantoms | 10 seconds | 1 GB |
# | `demo` | loads the trained model that comes with the package; another `seed` trains: 1 minute on one CPU core | 1 minute | 2 GB |
# | `gpu` | 1 mm, 18 M parameters, 8000 steps | about 10 minutes on an H100 (estimated) | 7 GB |
# | `paper` | Table 9's network, 500 000 steps | days | 16 GB (estimated) |
#
# A training that was killed goes on from its last checkpoint when its cell is run again.

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke"}}
preset: str = "demo"  # smoke | demo | scan | gpu | paper
task: str = "sr"  # sr | mt | both, or a line such as t1->t2
method: str = "palette-axial"  # palette-axial | palette-sagittal | palette-coronal
seed: int = 0  # seed of training and sampling
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout

# %%
import torch

from diffens_core import build, check_parameters, image_metrics, METRICS, open_experiment, roughness
from diffens_core.show import plots

check_parameters()
experiment = open_experiment(preset, seed, data, runs)
run = experiment.runs_of(method, task)[0]
pair = experiment.subjects("test", task)[0]

# %% [markdown]
# ## Forward: destroying a volume (Eq. 1)
# $$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon$$
#
# At step 0 this is nearly the target, at step 999 nearly pure noise. One table of $\bar\alpha$ serves every network of a run.

# %%
model = build(run)
eps = torch.randn(pair.x0.shape, generator=torch.Generator().manual_seed(seed))[None]
levels = {f"t = {t}": model.schedule.add_noise(pair.x0[None], eps, torch.tensor([t])) for t in (0, 100, 300, 500, 999)}
figure = plots.three_planes({name: xt[0, 0].numpy() for name, xt in levels.items()})

# %% [markdown]
# ## The network
# One U-Net serves 2D and 3D. It reads the noisy slice, the conditions, a brain mask and three coordinates, and it is
# told the noise level. It predicts `v`, a mixture of noise and target: predicting the noise itself divides small
# errors by $\sqrt{\bar\alpha_t}$, which at high noise is tiny, and then samples look like noise after a short training.

# %%
count = sum(p.numel() for p in model.parameters())
print(f"{run.folder.name}: {count / 1e6:.2f} M parameters, widths {model.net.widths}, plane {model.plane}")
print(f"{run.train.steps} steps on batches of {run.train.phases[0].batch} slices {run.train.phases[0].crop}")

# %% [markdown]
# ## Train (Eqs. 2 and 3)
# Slices, noise and noise levels of step `s` depend on (seed, s) alone, so a resumed run is the run it would have been.
# The loss is the squared error of the clean slice that `v` implies: at little noise, where `v` is hard to tell and the
# clean slice is not, it is small.
#
# At `smoke` and `demo` the kernels of the convolutions are trained with Muon (`muon.py`), all else with Adam: a step of
# Muon has the same length in all directions of a kernel's matrix, where Adam's follows the few that dominate the gradient.
# At `demo` that saves two thirds of the steps. The presets `gpu` and `paper` have Adam alone.

# %%
expert = experiment.model(method, task)
figure = plots.training_curves({method: experiment.log(run)})

# %% [markdown]
# ## Sample
# The lifted model runs over all slices of its plane in each step (Eq. 4). Look at its own plane, then at the others.

# %%
volume = experiment.translate(method, task, pair, model=expert)[0, 0].numpy()
truth, brain = pair.x0[0].numpy(), pair.brain.numpy()
conditions = dict(zip(experiment.task(task).conditions, pair.y.numpy()))
views = {"truth": truth, **conditions, method: volume}
figure = plots.three_planes(views, truth, plots.middle(brain), f"{pair.subject}, preset {preset}")
found = image_metrics(volume, truth, brain)
print(", ".join(f"{name} {found[name]:.3f}" for name in METRICS))

# %% [markdown]
# ## Slices that do not know each other
# The mean absolute jump from one slice to the next, along each axis, against that of the truth. A 2D model is rough
# along the axis that it slices.

# %%
jumps = zip(("sagittal", "coronal", "axial"), roughness(volume, brain), roughness(truth, brain))
for name, made, true in jumps:
    print(f"from one {name} slice to the next: {made / true:.2f} of the truth's")

# %% [markdown]
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
