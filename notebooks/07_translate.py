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
# **Goals.** Afterwards you can
# - write down one step of the sampler with its projection, and say which part does what;
# - say at which noise levels, and where in the head, the fusion leaves the average and gains on it;
# - say what the projection guarantees, and what it does not.
#
# **Before.** [`04_data`](04_data.ipynb): the measurement $A$. [`06_train_fusion`](06_train_fusion.ipynb): the fusion,
# and how its maps are read.
#
# **Papers.** Diff-Ensembler / Score-Fusion: [arXiv:2501.07430](https://arxiv.org/abs/2501.07430). DDIM:
# [arXiv:2010.02502](https://arxiv.org/abs/2010.02502). Projection of the clean estimate: DDNM,
# [arXiv:2212.00490](https://arxiv.org/abs/2212.00490). DPM-Solver++, the other sampler:
# [arXiv:2211.01095](https://arxiv.org/abs/2211.01095).
#
# | preset | what runs | time | memory |
# |---|---|---|---|
# | `smoke` | 4 mm phantoms, trains first | a minute of one core | 1 GB |
# | `demo` | trained weights come with the package | 1.5 minutes of one core, once the phantoms are there | 2 GB |
# | `scan` | 1 mm, after training | a minute of one core a sample (estimated) | 4 GB |
# | `gpu` | 1 mm, after training | 11 s a sample on an H200 (measured) | 9 GB |
# | `paper` | 1 mm, after training | a minute a sample on a data-centre GPU (estimated) | 12 GB (estimated) |

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
import pandas as pd
import torch

from diffens_core import autocast, by_subject, check_parameters, compare, heading, image_metrics
from diffens_core import METRICS, noise_for, open_experiment
from diffens_core.diffusion.sampler import timesteps
from diffens_core.evaluation.gains import gain_table, squared_errors
from diffens_core.show import plots, zooms
from diffens_core.show.widgets import browse_steps

check_parameters()
experiment = open_experiment(preset, seed, data, runs)
subjects = experiment.subjects(split, task)
fusion, average = (experiment.model(name, task) for name in (method, "tpdm"))

# %% [markdown]
# ## Which head
# Of up to three heads the one with the median lead of the fusion over the average of the same experts: neither the best
# example nor the worst.

# %%
pairs = [subjects[i] for i in range(min(3, len(subjects)))]
psnr = by_subject(compare(experiment, ["tpdm", method], task, pairs, 1)[0], "psnr", ["tpdm", method])
pair = subjects.pair(plots.median_subject(psnr[method] - psnr["tpdm"]))
truth, brain = pair.x0[0].numpy(), pair.brain.numpy()
psnr.assign(lead=psnr[method] - psnr["tpdm"]).style.format("{:.2f}")

# %% [markdown]
# ## One step
# The network says which noise $\hat\epsilon$ it sees in $x_t$. That implies a clean estimate, which is clamped to
# $[-1, 1]$ and projected onto what was measured; the noise is computed again from what came out, and the state moves to
# the next lower level $s < t$ (DDIM):
#
# $$\begin{gathered}
# \hat x_0 = \frac{x_t - \sqrt{1 - \bar\alpha_t}\, \hat\epsilon}{\sqrt{\bar\alpha_t}}, \\[4pt]
# \hat x_0 \leftarrow \hat x_0 + A^+ (y - A \hat x_0), \\[4pt]
# \epsilon' = \frac{x_t - \sqrt{\bar\alpha_t}\, \hat x_0}{\sqrt{1 - \bar\alpha_t}},
# \end{gathered}$$
#
# $$\begin{gathered}
# x_s = \sqrt{\bar\alpha_s}\, \hat x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\, \epsilon' + \sigma z, \\[4pt]
# \sigma = \eta\, \sqrt{\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}} \sqrt{1 - \frac{\bar\alpha_t}{\bar\alpha_s}}, \\[4pt]
# z \sim \mathcal N(0, I).
# \end{gathered}$$
#
# Here $\sigma$ is the deviation of fresh noise $z$, and $\eta$ says how much of it is drawn. With $\eta = 0$ nothing is
# random but the first state. After the last step $\bar\alpha_s = 1$: the sample is
# $\hat x_0$.
#
# ## The trajectory
# The sampler is a generator: it yields its state after every step, and the caller does with it what it likes. Here
# three walks from the same noise: the fusion, the fusion without the projection, and the average of its experts.
#
# **Predict first.** At the first step the input is pure noise. What does the clean estimate look like: grey, noise, or
# a brain? And is the last estimate much nearer to the truth than the first?

# %%
device = next(fusion.parameters()).device
y = pair.y[None].to(device)
noise = noise_for(pair.subject, [0], seed, y.shape[2:], device)
degradation, project = experiment.task(task).degradation, experiment.task(task).project
walks = {"fusion": (fusion, project), "without projection": (fusion, None), "average": (average, project)}
states, times = {}, timesteps(fusion.schedule, steps)
with torch.inference_mode(), autocast(device):
    for name, (model, onto) in walks.items():
        fresh = torch.Generator().manual_seed(seed)
        states[name] = list(model.trajectory(y, noise, steps, project=onto, sampler=sampler, generator=fresh))
estimates = {name: [s.x0_hat[0, 0].float().cpu().numpy() for s in walk] for name, walk in states.items()}
samples = [s.xt[0, 0].float().cpu().numpy() for s in states["fusion"]]

# %%
picked = sorted({0, steps // 4, steps // 2, 3 * steps // 4, steps - 1})
figure = plots.trajectory({f"t = {times[i]}": (samples[i], estimates["fusion"][i]) for i in picked})

# %%
errors = {name: [float(((x - truth)[brain] ** 2).mean() ** 0.5) for x in found] for name, found in estimates.items()}
figure = plots.step_curves(errors, times, "rms error in the brain", dashed=["without projection"])

# %% [markdown]
# It is a brain from the first step on: the conditions alone say most of what can be known. And the walk does not bring
# it nearer to the truth: with the projection the error is flat at first and then rises, a little for the fusion, more
# for the average. The first estimate is close to the mean of all plausible volumes, which has the least squared error;
# the walk settles for one of them, whose detail is sharper and in part elsewhere. Without the projection the error
# begins higher at `demo`, and falls as the walk goes on; at `smoke` the projection changes nothing within the brain.
#
# The same with sliders, for the step, too. (A live kernel is needed; after reopening the notebook run this cell again.)

# %% tags=["skip-execution"]
browse_steps({f"t = {t}": {"sample": x, "estimate": x0} for t, x, x0 in zip(times, samples, estimates["fusion"])})

# %% [markdown]
# ## What the fusion says at each step
# The weight of one expert, that of the first plane, at the states of the trajectory, on the whole range from 0 to 1: white
# is 0.5, TPDM's plain average. Rows are three cuts through the same weights; the line below says where nearly all of
# them lie. The cuts meet in the cortex, where squares around them hold most of its edges.
#
# **Predict first.** Where does the gate leave 1/2 most: at high noise, where the experts know little, or at low noise?

# %%
place = zooms.cortex(truth, brain)
gates, added = {}, {}
with torch.inference_mode(), autocast(device):
    for i in picked:
        xt, t = noise if i == 0 else states["fusion"][i - 1].xt, torch.tensor([times[i]], device=device)
        fused = fusion.fuse(xt, y, t)
        units = [fusion.schedule.eps_per_output(kind, xt, t) for kind in (fusion.prediction, "x0")]
        gates[f"t = {times[i]}"] = fused.gate[0, 0].float().cpu().numpy()
        added[f"t = {times[i]}"] = (fusion.config.lam * fused.resid * units[0] / units[1])[0, 0].float().cpu().numpy()
figure = plots.gate_maps(gates, experiment.preset.planes[0], place, brain)

# %%
opinion = {name: abs(gate - 1 / len(fusion.experts))[brain].mean() for name, gate in gates.items()}
residual = {name: (volume[brain] ** 2).mean() ** 0.5 for name, volume in added.items()}
pd.DataFrame({"mean |w - 1/P|": opinion, "rms of lambda r": residual}).style.format("{:.3f}")

# %% [markdown]
# At neither, at `smoke` and at `demo`: on average it is 0.03 to 0.04 from 1/2 at every `t`, and the maps hardly change.
# At `demo` it reaches 0.15 in patches, at the rim, in sulci and within the oedema. What a gate moves is $(w - 1/2)$
# times the difference of the two experts: a few hundredths of that. What the residual adds is far more: it does the
# work.
#
# ## Where it gains
# At the last step: the gate, now on its own range, what the residual adds ($\lambda r$, in the unit of the image), and
# what the whole walk gained on the average's, $|\text{error of the average}|$ minus $|\text{error of the fusion}|$. In
# the gate's column red trusts this expert more than the other and blue less, by as much as its bar says; in the next one
# red makes the image brighter and blue darker; in the last one red is gained, blue is lost.

# %%
last, gate = f"t = {times[-1]}", f"weight of the {experiment.preset.planes[0]} expert"
gain = abs(estimates["average"][-1] - truth) - abs(estimates["fusion"][-1] - truth)
maps = {gate: gates[last], r"$\lambda r$": added[last], "|error| of average - fusion": gain}
figure = plots.signed_maps(maps, truth, brain, place, {gate: 1 / len(fusion.experts)}, f"{pair.subject}, {last}")

# %% [markdown]
# Red and blue are mixed in this column even where the fusion gains a decibel: a sample's error is mostly chance, and a
# gain is a small surplus of red. So it has to be counted.
#
# **Predict first.** The gain by tissue and by distance from an edge, for the estimate of each step. Will it grow along
# the walk everywhere alike?

# %%
labels = subjects.labels(pair.subject)
labels, gains = None if labels is None else labels.numpy(), {}
for i in picked:
    both = {name: estimates[name][i] for name in ("average", "fusion")}
    table = gain_table(squared_errors(both, truth, brain, labels), "average", "fusion")
    gains |= {"voxels, %": table["voxels, %"], f"dB at t = {times[i]}": table["gain, dB"]}
pd.DataFrame(gains).style.format("{:.2f}").format("{:.0f}", subset="voxels, %")

# %% [markdown]
# Not alike. In the first steps, at `demo`, it is gained beside edges and in bright tissue, hardly far from edges, and
# nothing in the tumour. In the last steps it is gained everywhere, and the gain in decibels has grown most in flat
# tissue: there the average's walk grows rough, and the fusion, which has learnt from such states, keeps it smooth. At
# `smoke` this second gain is nearly all. (The three steps of `demo` in [`06_train_fusion`](06_train_fusion.ipynb) end
# earlier, at `t = 332`: its table is of the first kind.)
#
# ## What the projection does
# $A$ replaces each block by its mean (Eq. 8 of the paper), so $A = A^\top = A^2$, and $A^+ = A$. The projected estimate
# agrees with any measurement $y$ that some volume has, $y = A x$:
#
# $$\begin{gathered}
# A\, \bigl( \hat x_0 + A^+ (y - A \hat x_0) \bigr) \qquad \\[4pt]
# \qquad = A \hat x_0 + A A^+ y - A A^+ A \hat x_0 = y .
# \end{gathered}$$
#
# Of all volumes that agree it is the nearest to $\hat x_0$: what is changed, $A^+ (y - A \hat x_0)$, is constant within
# blocks, and any further change that keeps the block means is perpendicular to it.
#
# **Predict first.** How far are the estimates from what was measured, with and without the projection, and does the
# walk without it come nearer by itself?

# %%
fits = {
    name: [degradation.rms(state.x0_hat, y[:, :1]) for state in states[walk]]
    for name, walk in {"projected": "fusion", "free": "without projection"}.items()
}
figure = plots.error_curves(fits, times)

# %%
ends = {"projected": estimates["fusion"][-1], "free": estimates["without projection"][-1]}
views = {"truth": truth, "degraded": pair.y[0].numpy(), **ends}
figure = plots.three_planes(views, truth, plots.middle(brain), pair.subject)
found = pd.DataFrame({name: image_metrics(volume, truth, brain) for name, volume in ends.items()}).T
found[[*METRICS]].rename(columns=heading).style.format("{:.3f}")

# %% [markdown]
# With the projection the block means are kept up to rounding. Without it they are off, by a few hundredths at `demo`
# and by a third at `smoke`, though the network reads `y` in every step, and the walk mends little of it: what is only
# learnt is kept only roughly. At `demo` the projection gains half a decibel on this head, in the brain and as a whole.
# At `smoke` it gains more than four decibels as a whole, by cleaning the background, and nothing within the brain.
#
# ## What to take away
# - A step is: predict the noise, imply a clean estimate, clamp, project, recompute the noise, move on.
# - The estimate is a brain from the first step on. The walk does not bring it nearer to the truth: it turns a mean into
#   a sample, with detail that is plausible and not always true.
# - The gate stays near 1/2 at every step, and the residual does the work.
# - At `demo` the gain begins beside edges; late in the walk it is everywhere, as the average grows rough.
# - The projection guarantees the measured block means, at every step and exactly; it says nothing about detail.
#
# ## Quiz
# 1. Why is $\epsilon'$ computed again after the projection, instead of going on with $\hat\epsilon$?
# 2. What is random in a sample with $\eta = 0$?
# 3. Show that two applications of the projection are the same as one.
# 4. Can the projection make an estimate worse in mean squared error, if $y$ was measured from the truth?
# 5. The error curve of the estimate rises a little along the walk. Is the sampler broken?
#
# <details><summary>Answers</summary>
#
# 1. State, clean estimate and noise must fit together in Eq. 1; else the next state would have another noise level than
#    the network is told.
# 2. The starting noise alone. Each draw of it gives another sample.
# 3. After the first, $A \hat x_0 = y$, so the second adds $A^+ (y - y) = 0$.
# 4. No. The truth lies in the affine space of all volumes with these block means, and the point of it that is nearest
#    to an estimate is nearer to the truth, too (Pythagoras). But within the brain alone, or after a whole walk whose
#    later steps saw other inputs, it can.
# 5. No. The first estimate is close to the mean of all plausible volumes, which has the least squared error; a sample
#    is one of them, and has more.
#
# </details>

# %% [markdown]
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
#
# Next: [`08_experts_and_averages`](08_experts_and_averages.ipynb), where other experts and rules take part.
