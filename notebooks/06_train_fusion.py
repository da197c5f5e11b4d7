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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/06_train_fusion.ipynb)
#
# Two 2D models disagree wherever one sees what the other cannot. A plain average (TPDM) believes both equally,
# everywhere. Here a 3D network reads both and learns
#
# $$\hat\epsilon = \sum_p w_p\, \epsilon_p + \lambda r \qquad \text{(Eq. 6)}$$
#
# a gate $w$ that says whom to trust at each voxel, and a residual $r$ for what neither knows. Both start at zero, so
# training starts at exactly the average.
#
# *What* it learns from decides what it is worth. The paper shows it true images with noise. When it samples, it never
# meets one: it meets its own estimates with noise, and those are wrong in ways of their own. So it learns here on the
# states that its own sampler meets.
#
# | preset | what runs | time | memory |
# |---|---|---|---|
# | `smoke` | two 2D models and their fusion on 4 mm phantoms | 30 seconds | 1 GB |
# | `demo` | loads the models that come with the package; another `seed` trains: 12 minutes of one CPU core | 2 minutes | 6 GB |
# | `gpu` | 1 mm, patches of 64 x 64 x 64 | about 12 minutes on an H100 (123 ms a step, measured; following heads estimated) | 8 GB, and 20 GB of main memory for the states |
# | `paper` | Table 10's network and the paper's own stage 2 | 16 GPU days (the paper) | 40 GB (the paper) |

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke"}}
preset: str = "demo"  # smoke | demo | scan | gpu | paper
task: str = "sr"  # sr | mt | both, or a line such as t1->t2
method: str = "ours-tpdm"  # the fusion to train
seed: int = 0  # seed of training and sampling
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout

# %%
import pandas as pd
import torch

from diffens_core import build, by_subject, check_parameters, compare, noise_for, open_experiment, results_table
from diffens_core.show import plots
from diffens_core.training.config import pool_gib
from diffens_core.training.states import Head, own_states, true_states

check_parameters()
experiment = open_experiment(preset, seed, data, runs)
run = experiment.runs_of(method, task)[0]
subjects = experiment.subjects("test", task)
pair, times = subjects[0], experiment.preset.times

# %% [markdown]
# ## What goes in
# The noisy target, the conditions, brain mask, coordinates, and how each expert's clean estimate differs from their
# average; the experts' feature maps, brought onto the 3D grid by one strided convolution a level; and the estimate that
# the sampler makes of the average: clamped, and projected onto what was measured. Whatever the network says that
# contradicts the measurement is taken back after it, so it need not learn to be right there, and the loss does not ask.

# %%
fresh = build(run)
count = sum(p.numel() for p in fresh.parameters() if p.requires_grad)
print(f"{run.folder.name}: {count / 1e6:.2f} M trainable parameters on top of {len(fresh.experts)} frozen experts")
print(
    *(f"{p.steps} steps, {p.batch} patches of {p.patch or experiment.preset.shape}" for p in run.train.phases), sep="\n"
)
if run.train.states:
    print(f"states: {run.train.states}, {pool_gib(run):.1f} GiB at most")
else:
    print("states: true images with noise, as in the paper")

# %% [markdown]
# ## It starts at the average

# %%
average = experiment.model("tpdm", task)
device = next(average.parameters()).device
fresh.to(device).experts.load_state_dict(average.experts.state_dict())
head, noise = Head.of(pair, False, device), noise_for(pair.subject, [0], seed, pair.x0.shape[1:], device)
with torch.inference_mode():
    visit = head.visit(fresh, noise, times[0])
    before = visit.fused(fresh)
    print("largest difference:", float((before.eps - average(visit.xt, visit.y, visit.t)).abs().max()))

# %% [markdown]
# ## What it will meet
# The average of the experts on the same head, at the same noise levels: once as the sampler goes, each state made of the
# estimate before it (`own`), once with the true image under the noise (`true`). Error of its clean estimate, clamped and
# projected, within the head. At high noise nothing tells the two apart. At low noise the true image shines through, and
# whoever learnt from it has learnt to copy it.

# %%
answer, rows = lambda visit: visit.lifted.eps_planes.mean(0), {}
with torch.inference_mode():
    for kind, walk in {"own": own_states, "true": true_states}.items():
        visits = walk(fresh, head, noise, times, answer)
        rows[kind] = {int(v.t): float((v.estimate(fresh, answer(v)) - head.x0).square().mean().sqrt()) for v in visits}
pd.DataFrame(rows).rename_axis("t").style.format("{:.4f}")

# %% [markdown]
# ## Train
# With the experts comes a fit that costs no optimiser step. At every voxel, what is left between the average and the
# truth is predicted linearly from what is there to see: each expert's estimate, the conditions, the finest feature maps,
# and the 3x3x3 neighbours of the projected average and of the experts' differences. Its normal equations are gathered
# along the average's own trajectories; weights change linearly from noise level to noise level (`linear.py`).
#
# The network learns what is not linear. The experts are frozen, so they run once for each state, and patches of
# what they said are kept; some hundred steps are taken on these (`states.py`). Then all heads are followed once more, with
# the fusion as it is by then. Each time a head is followed, it is moved by less than a block and measured anew, as if the
# scanner's slices had begun elsewhere.
#
# A patch is soon known by heart, and a state is dear: running the experts takes longer than the steps that are taken on
# it. So the network learns alone first, from places that are new in every step, in which the experts seem to know nothing
# but the interpolated measurement, or the T1ce where there is none (`without_experts`; `ours-tpdm+never-alone` goes without). Where the curve below jumps,
# it hears them for the first time.
#
# Where nothing is measured (`mt`), how bright a head's tissues are in the target is mostly chance. A network can only learn
# it by heart, for training heads, and be wrong in others. So the truths that it learns from are given brightness and contrast
# of the experts' average in the state at hand (alone, those of the T1ce in the window), and its answers keep them in each
# step (`contrast.py`): what it corrects is what lies where.

# %%
fusion = experiment.model(method, task)
figure = plots.training_curves({method: experiment.log(run)})

# %% [markdown]
# ## What it learnt
# Along its own trajectory on a head that it never saw, error as above: each expert, their average, with the linear
# correction, with the network.

# %%
rows, names = {}, [*experiment.preset.planes, "average", "linear", "fusion"]
with torch.inference_mode():
    for visit in own_states(fusion, head, noise, times, lambda visit: visit.fused(fusion).eps):
        planes, fused = visit.lifted.eps_planes, visit.fused(fusion)
        unit = fusion.schedule.eps_per_output(fusion.prediction, visit.xt, visit.t)
        linear = planes.mean(0) + unit * (visit.lifted.start if fusion.linear else 0.0)
        guesses = zip(names, [*planes, planes.mean(0), linear, fused.eps])
        errors = {name: visit.estimate(fusion, eps) - head.x0 for name, eps in guesses}
        rows[int(visit.t)] = {name: float(error.square().mean().sqrt()) for name, error in errors.items()}
pd.DataFrame(rows).T.rename_axis("t").style.format("{:.4f}")

# %% [markdown]
# ## Whole samples
# Of several heads; each answer starts from the same noise.

# %%
names = [f"palette-{plane}" for plane in experiment.preset.planes] + ["tpdm", method]
pairs = [subjects[i] for i in range(min(3, len(subjects)))]
metrics, volumes = compare(experiment, names, task, pairs, experiment.preset.samples)
results_table(metrics, names).style.format("{:.3f}")

# %% [markdown]
# Of the head with the median lead, the place where squared error falls most from the average to its fusion.

# %%
psnr = by_subject(metrics, "psnr", ["tpdm", method])
subject = plots.median_subject(psnr[method] - psnr["tpdm"])
truth = subjects.pair(subject).x0[0].numpy()
shown = {name: volumes[name, subject][0, 0].numpy() for name in names}
place = plots.largest_gain(shown["tpdm"], shown[method], truth)
figure = plots.zoomed({"truth": truth, **shown}, place, f"{subject}: {(psnr[method] - psnr['tpdm'])[subject]:+.2f} dB")

# %% [markdown]
# What was gained has a price: a network that minimises squared error on the states it meets answers nearer to the mean
# of all plausible images. Compare the columns `single sample` and `mean of samples` above: averaging gains the fusion
# less. `13_uncertainty` shows what is left of the spread.
#
# And it takes minutes that the 2D models could have had. At `demo` an average of experts that are given all of them is as
# good on `sr` and better on `both`; a 2D regression is better, a 3D one about as good (`tpdm+all-time`,
# `unet-2d+all-time`, `unet-3d+all-time` in `08_experts_and_averages`; numbers in figures/results.md). In these twelve minutes, what is
# gained depends on how long is trained and hardly on what.
#
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
