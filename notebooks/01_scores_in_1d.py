# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Scores in 1D: a diffusion model without a network
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/diffens/diffens/blob/main/notebooks/01_scores_in_1d.ipynb)
#
# A diffusion model learns one function: the best guess of the noise in what it sees. For a mixture of Gaussians in one
# dimension this function is a formula. So everything that later notebooks do with networks can be done here exactly,
# and checked: noise, score, clean estimate, a sampling step, and an ensemble of two models that are both wrong.
#
# **Goals.** Afterwards you can
# - turn noise, score, clean estimate and $v$ into each other, and say what a sampling step does with them;
# - say what too few sampling steps cost, and why;
# - explain why averaging two models is not the same as fusing them, what a gate can repair, and what it cannot.
#
# **Before.** Gaussian densities, expectations, derivatives, and some Python. No other notebook.
#
# | preset | what runs | time | memory |
# |---|---|---|---|
# | `smoke` | 500 samples of each sampler, up to 200 steps | half a minute of one core | 1 GB |
# | `demo`, `scan`, `gpu`, `paper` | 4000 samples, up to 1000 steps; needs no GPU | half a minute of one core | 1 GB |
#
# **Papers.** Diffusion [Ho et al. 2020](https://doi.org/10.48550/arXiv.2006.11239); scores
# [Song et al. 2021](https://doi.org/10.48550/arXiv.2011.13456), [Vincent 2011](https://doi.org/10.1162/NECO_a_00142);
# Tweedie's formula [Efron 2011](https://doi.org/10.1198/jasa.2011.tm11181); DDIM
# [Song et al. 2021](https://doi.org/10.48550/arXiv.2010.02502); $v$
# [Salimans and Ho 2022](https://doi.org/10.48550/arXiv.2202.00512); gates
# [Jacobs et al. 1991](https://doi.org/10.1162/neco.1991.3.1.79); their use for planes, Score-Fusion
# [Zhu et al. 2025](https://doi.org/10.48550/arXiv.2501.07430).

# %%
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffens/diffens")

# %% tags=["parameters"] nbmake={"mock": {"preset": "smoke"}}
preset: str = "demo"  # smoke | demo | scan | gpu | paper: how many samples and steps
seed: int = 0  # seed of the random draws
task: str = "sr"  # not used: there is nothing to translate
data: str = ""  # not used: the variable is made here
runs: str = ""  # not used: nothing is trained

# %%
import pandas as pd
import torch

from diffens_core import Average, check_parameters, ddim, Schedule
from diffens_core.diffusion.gaussians import best_gate
from diffens_core.diffusion.mixture import NORMAL, BestGate, Mixture, MixtureDenoiser, gram, on_points
from diffens_core.diffusion.sampler import ddim_step, dpm_solver
from diffens_core.show import plots
from diffens_core.show.widgets import slide_levels

check_parameters()
samples, most_steps = (500, 200) if preset == "smoke" else (4000, 1000)
generator = torch.Generator().manual_seed(seed)

# %% [markdown]
# ## The variable
# Five bumps between -1 and 1, the range of all images in this package:
#
# $$p_0(x) = \sum_{k=1}^{5} \pi_k\, \mathcal{N}(x;\, \mu_k, s_k^2)$$
#
# with shares $\pi_k$, means $\mu_k$ and standard deviations $s_k$. `exact` below is the model whose answers are
# formulas.

# %%
mixture = Mixture(
    means=(-0.8, -0.45, -0.05, 0.35, 0.75),
    stds=(0.05, 0.08, 0.05, 0.06, 0.08),
    weights=(0.15, 0.25, 0.2, 0.25, 0.15),
)
schedule = Schedule()  # 1000 noise levels, beta linear from 1e-4 to 2e-2
exact = MixtureDenoiser(mixture, schedule)
x0 = mixture.draw(200_000, generator)
print(f"mean {x0.mean():.3f}, standard deviation {x0.std():.3f}")

# %% [markdown]
# ## Noise
# At step $t$ a part of the signal is replaced by noise (Eq. 1; equations have the numbers of the Score-Fusion paper):
#
# $$\begin{gathered}
# x_t = \sqrt{\bar\alpha_t}\; x_0 + \sigma_t\, \epsilon, \\[4pt]
# \sigma_t = \sqrt{1 - \bar\alpha_t}, \qquad \epsilon \sim \mathcal{N}(0, 1)
# \end{gathered}$$
#
# A step adds noise of variance $\beta_t$, and $\bar\alpha_t = \prod_{s \le t} (1 - \beta_s)$ is how much of the
# signal's variance is left: nearly all at step 0, nearly nothing at step 999.
#
# Each bump is scaled and widened, so $x_t$ is a mixture again:
#
# $$p_t(x) = \sum_k \pi_k\, \mathcal{N}\!\left(x;\, \sqrt{\bar\alpha_t}\,\mu_k,\; \bar\alpha_t s_k^2 + \sigma_t^2\right)$$
#
# **Predict first.** The bumps are 0.3 to 0.4 apart. At step 100 of 1000 the noise has a standard deviation of 0.32.
# How many of the five bumps can still be seen there?

# %%
eps = torch.randn(len(x0), generator=generator, dtype=torch.float64)
noisy = {t: schedule.add_noise(x0[:, None], eps[:, None], torch.full((len(x0),), t))[:, 0] for t in (10, 50, 100, 400)}
x = torch.linspace(-2.5, 2.5, 401, dtype=torch.float64)
panels, marks = {}, {}
for t, xt in noisy.items():
    bins = (20 * xt[xt.abs() < 2.5]).round().numpy() / 20
    drawn = pd.Series(bins).value_counts().sort_index() / len(x0) / 0.05
    panels[f"t = {t}"] = pd.DataFrame({"density $p_t$": exact.at(t).density(x)}, index=x.numpy())
    marks[f"t = {t}"] = pd.DataFrame({"drawn": drawn.iloc[::2]})
figure = plots.level_curves(panels, marks, xlabel="$x_t$", ylabel="density")

# %% [markdown]
# None: noise as wide as the gaps between the bumps makes one hill of them. The points count 200 000 values that were
# drawn and noised; they lie on the formula. The same for all noise levels, each scaled to its own maximum:

# %%
sigma = (1 - schedule.alpha_bar).sqrt()
grid = x[x.abs() < 2]
density = {float(sigma[t]): exact.at(t).density(grid).numpy() for t in range(0, schedule.steps, 2)}
density = pd.DataFrame(density, index=grid.numpy())
figure = plots.noise_map(density)

# %% [markdown]
# ## Score and noise
# The **score** is the slope of the log density, $\mathcal{S}_t(x) = \frac{d}{dx} \log p_t(x)$: it points uphill. For
# a mixture it is the bumps' own scores, each weighted by the probability that $x$ comes from this bump:
#
# $$\begin{gathered}
# \mathcal{S}_t(x) = \sum_k r_k(x) \frac{\sqrt{\bar\alpha_t}\,\mu_k - x}{\bar\alpha_t s_k^2 + \sigma_t^2}, \\[4pt]
# r_k(x) = P(k \mid x_t = x)
# \end{gathered}$$
#
# And the best guess of the noise is the score, in another unit:
#
# $$\hat\epsilon(x_t) = \mathbb{E}[\epsilon \mid x_t] = -\sigma_t\, \mathcal{S}_t(x_t)$$
#
# The reason: $\frac{d}{dx_t} \log \mathcal{N}(x_t; \sqrt{\bar\alpha_t} x_0, \sigma_t^2) = -\epsilon / \sigma_t$, and
# the slope of $\log p_t$ is the mean of these slopes over all $x_0$ that could lie behind $x_t$. The guess with
# the least squared error is this mean: so a network trained by $\lVert \epsilon - \hat\epsilon \rVert^2$ (Eq. 2) learns
# the score.
#
# The check needs no formula: sort the draws by $x_t$, and average their true noise within narrow bins.

# %%
panels, marks = {}, {}
for t in (50, 100, 400):
    kept = noisy[t].abs() < 1.6
    bins = (20 * noisy[t][kept]).round().numpy() / 20
    found = pd.Series(eps[kept].numpy()).groupby(bins).agg(["mean", "size"])
    marks[f"t = {t}"] = found.query("size > 300")[["mean"]].rename(columns={"mean": "mean of true noise"})
    inner = x[x.abs() < 1.6]
    guess = on_points(exact, inner, t)
    panels[f"t = {t}"] = pd.DataFrame({r"$-\sigma_t \mathcal{S}_t(x)$": guess}, index=inner.numpy())
figure = plots.level_curves(panels, marks, xlabel="$x_t$", ylabel="guess of the noise")

# %% [markdown]
# The curve crosses zero where $p_t$ has a hill or a valley. At step 50 it waves: between two bumps it is undecided.
#
# ## The clean estimate: Tweedie's formula
# Who knows the noise knows the signal. Solve Eq. 1 for $x_0$ with the guess in place of the noise:
#
# $$\hat x_0 = \mathbb{E}[x_0 \mid x_t] = \frac{x_t - \sigma_t\, \hat\epsilon}{\sqrt{\bar\alpha_t}}
# = \frac{x_t + \sigma_t^2\, \mathcal{S}_t(x_t)}{\sqrt{\bar\alpha_t}}$$
#
# **Predict first.** At step 900 almost all is noise. What is the best guess of $x_0$ for $x_t = -1$, and for
# $x_t = 1$?

# %%
estimates, inner = {}, torch.linspace(-1, 1, 401, dtype=torch.float64)
for t in (20, 50, 100, 400, 900):
    estimates[f"t = {t}"] = schedule.x0_from_eps(on_points(exact, inner, t), inner, torch.tensor([t])).numpy()
table = pd.DataFrame(estimates, index=inner.numpy())
figure = plots.level_curves({r"best guess of $x_0$": table}, xlabel="$x_t$")
low_end, high_end = table["t = 900"].iloc[[0, -1]]
print(f"t = 900: {low_end:.3f} at -1, {high_end:.3f} at 1; mean of all data: {x0.mean():.3f}")

# %% [markdown]
# Nearly the mean of all data, whatever $x_t$ is. At low noise the guess is a staircase: it goes to the nearest bump.
# In between it is a compromise, and may be a value that no sample ever has. A clean estimate is a mean, not a sample.
#
# ## Three names for one guess
# Networks may be asked for the noise, for $x_0$, or for $v = \sqrt{\bar\alpha_t}\,\epsilon - \sigma_t\, x_0$. Since
# $\bar\alpha_t + \sigma_t^2 = 1$, the two factors are the cosine and the sine of an angle. As it grows, $x_t$ turns
# from $x_0$ to $\epsilon$, and $v$ is its derivative by the angle. From each follow the others:
#
# $$\hat\epsilon = \sqrt{\bar\alpha_t}\, \hat v + \sigma_t\, x_t, \qquad
# \hat x_0 = \sqrt{\bar\alpha_t}\, x_t - \sigma_t\, \hat v$$
#
# What differs is what a mistake costs. A network is wrong by a little; let it be 0.01.
#
# **Predict first.** At step 999, $\bar\alpha_t$ is 0.00004. How large is the mistake in $\hat x_0$, if the network
# predicts the noise? And if it predicts $v$?

# %%
cost = {}
for t in (1, 100, 300, 600, 999):
    point, step = exact.at(t).quantiles(2000), torch.tensor([t])
    guess, cost[f"t = {t}"] = on_points(exact, point, t), {}
    for name in ("eps", "v", "x0"):
        wrong = schedule.eps_from(name, schedule.prediction_from(name, guess, point, step) + 0.01, point, step)
        off = schedule.x0_from_eps(wrong, point, step) - schedule.x0_from_eps(guess, point, step)
        cost[f"t = {t}"][f"{name} off by 0.01: x0 is off by"] = float(off.abs().mean())
        cost[f"t = {t}"][f"{name} off by 0.01: eps is off by"] = float((wrong - guess).abs().mean())
pd.DataFrame(cost).sort_index().style.format("{:.4f}")

# %% [markdown]
# A mistake in the noise is multiplied by $\sigma_t / \sqrt{\bar\alpha_t}$ on its way to $x_0$, which is 157 at step
# 999; a mistake in $x_0$ is multiplied by the inverse on its way to the noise, 67 at step 1. A mistake in $v$ is never
# multiplied by more than 1. This is one reason why networks here predict $v$.
#
# ## One DDIM step
# DDIM, the sampler of this package, splits $x_t$ into the guesses, and puts them together again at a lower noise level
# $s < t$:
#
# $$x_s = \sqrt{\bar\alpha_s}\; \hat x_0 + \sigma_s\, \hat\epsilon$$
#
# No fresh noise is drawn. If the guesses are right and the step is short, then values that follow $p_t$ become values
# that follow $p_s$. Check it for one step from 300 to 250, and for one that leaps to 0.

# %%
start = exact.at(300).quantiles(samples)
xt = start.reshape(1, 1, -1, 1, 1)
guess = schedule.x0_from_eps(exact(xt, 0 * xt, torch.tensor([300])), xt, torch.tensor([300]))
for s in (250, 100, 0):
    after = float(schedule.alpha_bar[s])
    xs = ddim_step(schedule, xt, guess, 300, after, 0.0, None).flatten()  # 0.0, None: no fresh noise
    print(f"from 300 to {s}: distance from p_{s} is {exact.at(s).distance(xs):.4f}")

# %% [markdown]
# The **distance** is Wasserstein's: how far, on average, probability would have to be moved to get the true density. A
# short step is nearly exact, a leap is not: along the way the guess would have changed.
#
# ## Sampling
# A sampler takes many such steps, from pure noise to data. It is the package's own `ddim`, the one that samples brains.
# It works on volumes `[B, 1, X, Y, Z]`; here each voxel of one volume is a sample of its own. The starting noise is not
# drawn but spread evenly, so that the result depends on no luck.

# %%
noise = NORMAL.quantiles(samples).reshape(1, 1, -1, 1, 1)
walk = list(ddim(exact, torch.zeros_like(noise), noise, 100, clamp=False))
states = torch.stack([noise, *(step.xt for step in walk)]).reshape(len(walk) + 1, -1)
lines = states[:, torch.linspace(0, samples - 1, 24).long()]
paths = pd.DataFrame(lines.numpy(), index=[*(float(sigma[step.t]) for step in walk), 0])
figure = plots.noise_map(density, paths)

# %% [markdown]
# Paths run side by side and never cross: in one dimension the sampler maps the k-th smallest noise to the k-th smallest
# sample. For most of the walk they only drift; the choice of a bump falls late, below $\sigma_t = 0.4$, step 126.
#
# **Predict first.** With a single step the sampler asks once, at pure noise, and takes the answer as its sample. What
# do the samples look like? And what happens to the distance when the number of steps is doubled? (Blue: samples, cut
# off where they are too high. Black: the truth. DPM-Solver++ is another sampler, which also uses the step before.)

# %%
counts = [n for n in (1, 2, 5, 10, 25, 50, 100, 200, 500, 1000) if n <= most_steps]
truth = pd.Series(mixture.density(x).numpy(), index=x.numpy()).loc[-1.3:1.3]
shown, distance = {}, {"DDIM": {}, "DPM-Solver++": {}}
for n in counts:
    for name, sampler in {"DDIM": ddim, "DPM-Solver++": dpm_solver}.items():
        *_, last = sampler(exact, torch.zeros_like(noise), noise, n, clamp=False)
        distance[name][n] = mixture.distance(last.x0_hat.flatten())
        shown.setdefault(f"{name}, {n} steps", last.x0_hat.flatten().numpy())
picked = [f"DDIM, {n} steps" for n in (1, 2, 5, 10, 25, 50, 100, 200)]
figure = plots.histograms({name: shown[name] for name in picked}, truth)

# %%
table = pd.DataFrame(distance)
figure = plots.level_curves({"distance from the truth": table}, xlabel="number of steps")
figure.axes[0].set(xscale="log", yscale="log")
table.T.style.format("{:.4f}")

# %% [markdown]
# One step gives the mean of the data, for every noise. Few steps are **timid**: samples stay too near the mean, as each
# leap lands on a mean of what could be. From ten steps on, doubling the steps about halves DDIM's distance.
# DPM-Solver++ is ahead from 5 steps on, but for about 100, where the two are level.
#
# ## Two models, both wrong
# Now the ensemble. Two models saw only a part of the data each, and are exact on it: `low` knows the three bumps on the
# left, `high` the two on the right. Each is wrong about everything else; together they know all. How to combine them?
#
# - **average of scores**: in every step $\tfrac12 \hat\epsilon_1 + \tfrac12 \hat\epsilon_2$ (so does TPDM with models
#   of two planes of a volume);
# - **average of samples**: each model samples on its own from the same noise; take the mean of the two samples;
# - **one model each**: a sample is made by one model alone, by `low` for three of five samples;
# - **weights by step**: $w_t\, \hat\epsilon_1 + (1 - w_t)\, \hat\epsilon_2$, with the best $w_t$ for each noise level;
# - **weights by value**: the best $w(x)$ of step 100, at all steps;
# - **gate**: the best $w(x_t, t)$, for every value at every step.
#
# The best weight is the one with the least squared error from the exact guess, which only a toy like this one knows.
#
# **Predict first.** Which of these puts samples on all five bumps? Where do those of the average of scores go?

# %%
low, high = MixtureDenoiser(mixture.part(0, 1, 2)), MixtureDenoiser(mixture.part(3, 4))
weights = {step.t: best_gate(gram([low, high], exact, step.t)).tolist() for step in walk}
models = {
    "low": low,
    "high": high,
    "average of scores": Average([low, high]),
    "weights by step": Average([low, high], weights.__getitem__),
    "weights by value": BestGate([low, high], exact, level=100),
    "gate": BestGate([low, high], exact),
}

# %%
found = {}
for name, model in models.items():
    *_, last = ddim(model, torch.zeros_like(noise), noise, 100, clamp=False)
    found[name] = last.x0_hat.flatten()
found["average of samples"] = (found["low"] + found["high"]) / 2
found["one model each"] = torch.where(torch.arange(samples) % 5 < 3, found["low"], found["high"])
figure = plots.histograms({name: values.numpy() for name, values in found.items()}, truth)

# %% [markdown]
# In numbers; *at 1* is the share of the samples within two standard deviations of the mean of bump 1.

# %%
rows = {}
for name, values in {**found, "exact": torch.as_tensor(shown["DDIM, 100 steps"])}.items():
    nearest = (values[:, None] - torch.tensor(mixture.means)).abs() < 2 * torch.tensor(mixture.stds)
    rows[name] = {"distance": mixture.distance(values), "standard deviation": float(values.std())}
    rows[name] |= {f"at {k + 1}": float(share) for k, share in enumerate(nearest.float().mean(0))}
    rows[name]["at none"] = float((~nearest.any(1)).float().mean())
rows["truth"] = {"distance": 0.0, "standard deviation": float(x0.std())}
pd.DataFrame(rows).T.style.format("{:.2f}", na_rep="")

# %% [markdown]
# - The **average of scores** goes where both models find some probability: into the gap between them, where there is no
#   data. Averaging scores multiplies densities: $\tfrac12 (\mathcal{S}_1 + \mathcal{S}_2)$ is the slope of
#   $\log \sqrt{p_1 p_2}$. An average of scores is an *and*; what is wanted here is an *or*.
# - The **average of samples** is something else: it mixes values. By the distance it is nearer to the truth than the
#   average of scores, but all of it lies in the middle; bumps 1, 2 and 5 get next to nothing.
# - **One model each** is right, as right as the exact model. It is no way out for images: there every single image has
#   places that one model knows and places that the other knows.
# - **Weights by step** help little: no single weight is right for the left and for the right.
# - **Weights by value** fill all bumps, but too many samples end at the rims: at high noise they choose too sharply.
# - The **gate** is as good as the exact model.
#
# ## What the gate is
# It must be: the whole mixture is $\pi_1 p_1 + \pi_2 p_2$ with the models' shares $\pi_1 = 0.6$, $\pi_2 = 0.4$, and its
# score is
#
# $$\begin{gathered}
# \mathcal{S}_t(x) = w(x, t)\, \mathcal{S}_{1,t}(x) + (1 - w(x, t))\, \mathcal{S}_{2,t}(x), \\[4pt]
# w(x, t) = \frac{\pi_1\, p_{1,t}(x)}{\pi_1\, p_{1,t}(x) + \pi_2\, p_{2,t}(x)}
# \end{gathered}$$
#
# The weight is the probability that $x_t$ comes from the part that the first model knows. Lines: this formula. Points:
# the weight that `BestGate` finds from the three guesses.

# %%
first = sum(mixture.weights[:3])
points = x[::8]
share, best = {}, {}
for t in (20, 100, 300, 600):
    p1, p2 = first * low.at(t).density(x), (1 - first) * high.at(t).density(x)
    share[f"t = {t}"] = (p1 / (p1 + p2)).numpy()
    best[f"t = {t}"] = on_points(models["gate"].weight, points, t).numpy()
name = "weight of the model that knows the left"
tables = [pd.DataFrame(share, index=x.numpy()), pd.DataFrame(best, index=points.numpy())]
figure = plots.level_curves({name: tables[0]}, {name: tables[1]}, xlabel="$x_t$")

# %% [markdown]
# At low noise the gate is a switch, at high noise nearly a constant, 0.6: then the value says little about where it
# comes from. So it has to depend on both. Their errors, as the share of the average's that is left:

# %%
levels = [step.t for step in walk if step.t < 900][::-4]
squared = {t: gram(list(models.values()), exact, t).diagonal() for t in levels}
errors = pd.DataFrame(squared, index=list(models)).T
left = errors.div(errors["average of scores"], axis=0)[["weights by step", "weights by value", "gate"]]
figure = plots.level_curves({"share of the average's squared error that is left": left})
figure.axes[0].set_ylim(-0.05, 1.5)
worse = left.index[left["weights by value"] > 1].min()
print(f"weights by value are worse than the average from step {worse} on")

# %% [markdown]
# Weights by step help where they are needed least: at high noise, where the average is nearly right. Weights by value
# are right at their own noise level and wrong at higher ones.
#
# ## What no gate can repair
# Weights between 0 and 1 choose a guess between those of the two models. Take away a bump from each: `low` knows bumps
# 1 and 2, `high` knows bump 4 alone. Nobody knows bump 3, between them, nor bump 5, to the right of both.
#
# **Predict first.** Which of the two lost bumps can the best gate bring back?

# %%
pair = [MixtureDenoiser(mixture.part(0, 1)), MixtureDenoiser(mixture.part(3))]
ways = {"average of scores": Average(pair), "gate": BestGate(pair, exact), "exact": exact}
ends = {}
for name, model in ways.items():
    *_, last = ddim(model, torch.zeros_like(noise), noise, 100, clamp=False)
    ends[name] = last.x0_hat.flatten().numpy()
figure = plots.histograms(ends, truth)

# %% [markdown]
# Bump 3: there one model says "further left", the other "further right", the truth lies between the two, and the gate
# reaches it, though neither model has ever seen a value like it. Bump 5 stays lost: there both models say "left" and
# both exaggerate, so the truth lies outside of what weights can reach. How often that is so, and what it costs:

# %%
for t in (50, 100, 200, 400):
    point = exact.at(t).quantiles(2000)
    one, two, wanted = (on_points(model, point, t) for model in (*pair, exact))
    within = (torch.minimum(one, two) <= wanted) & (wanted <= torch.maximum(one, two))
    average, gate, _ = gram(list(ways.values()), exact, t).diagonal().tolist()
    print(f"t = {t}: within reach of a gate for {float(within.float().mean()):.0%} of the values;", end=" ")
    print(f"the best gate leaves {gate / average:.1%} of the average's squared error")

# %% [markdown]
# For this there is the **residual** of the paper's fusion (Eq. 6), a correction that is added and has no bounds:
#
# $$\hat\epsilon = w\, \hat\epsilon_1 + (1 - w)\, \hat\epsilon_2 + \lambda r$$
#
# Nobody has the true mixture of brains, so gate and residual must be learnt there, by a network that reads the noisy
# value and both guesses.
#
# ## Look around
# One noise level: density, best guess of the noise, best guess of $x_0$.

# %%
figure = plots.noise_level(exact, 100)

# %% [markdown]
# A live kernel lets you slide through all of them. Watch where the staircase appears.

# %% tags=["skip-execution"]
slide_levels(lambda t: plots.noise_level(exact, t), schedule.steps, 100)

# %% [markdown]
# ## What to take away
# - Noise, score, clean estimate and $v$ are one guess in four units; given $x_t$ and $t$ each gives the others.
# - A clean estimate is a mean of all that could be. A sample comes from many small steps between such means; with few
#   steps samples are timid.
# - Averaging scores multiplies densities; averaging samples mixes values; neither gives the union of what two models
#   know.
# - A gate that depends on value and noise level can be exact where the truth lies between the models.
# - Where both are wrong on the same side no weights help: this is left to a residual.
#
# ## Quiz
# 1. At which noise level is $\hat x_0$ nearly the same for every $x_t$, and what is it?
# 2. A network predicts $\hat v = 0.3$ for $x_t = 1$, where $\bar\alpha_t = 0.64$. What are $\hat\epsilon$ and
#    $\hat x_0$?
# 3. Why does one DDIM step from pure noise give the same value for all starting noises?
# 4. Two models give $\hat\epsilon_1 = 0.2$ and $\hat\epsilon_2 = 0.6$; the truth is 0.3. Which weight of the first is
#    right, and what would it be for a truth of 0.7?
# 5. Every DDIM step without fresh noise is linear in $\hat\epsilon$. What follows for two models whose *states* are
#    averaged after every step?
#
# <details><summary>Answers</summary>
#
# 1. At the highest: it is the mean of the data, as $x_t$ says nothing.
# 2. $\sqrt{\bar\alpha_t} = 0.8$, $\sigma_t = 0.6$: $\hat\epsilon = 0.8 \cdot 0.3 + 0.6 \cdot 1 = 0.84$ and
#    $\hat x_0 = 0.8 \cdot 1 - 0.6 \cdot 0.3 = 0.62$.
# 3. Its sample is the clean estimate at pure noise, and that is the mean of the data.
# 4. $0.2\,w + 0.6\,(1 - w) = 0.3$ gives $w = 0.75$. For 0.7 it would be $-0.25$: no weight in [0, 1] reaches it.
# 5. It is the same as averaging their guesses of the noise. Only averaging the samples at the very end is not.
#
# </details>
#
# ## Exercises
# With checks, in `course/student/`, and solved in `course/solutions/`: `make course` writes both.
#
# Next: [`02_rows_and_columns`](02_rows_and_columns.ipynb), where two models see the rows and the columns of an image.
