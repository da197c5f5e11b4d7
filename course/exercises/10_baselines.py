# %% [markdown]
# ### Exercise 1. The best single answer
# A voxel is -1, 0 or 1 with probabilities 0.3, 0.1 and 0.6. Fill `best` with two numbers: the answer with the least
# expected squared error, and the one with the least expected absolute error.
# %% tags=["given"]
values, chances = np.array([-1.0, 0.0, 1.0]), np.array([0.3, 0.1, 0.6])
# %% tags=["solution"]
best = [float(values @ chances), 1.0]
# %% tags=["stub"]
best = [..., ...]  # your code here
# %% tags=["wrong"]
best = [float(values @ chances), 0.0]
# %% tags=["check"]
from course.checks import near

candidates = np.linspace(-1, 1, 2001)
away = candidates[:, None] - values
least = [candidates[(cost @ chances).argmin()] for cost in (away**2, abs(away))]
near(best, least, "the mean, and the median: the value with half of the probability on either side")

# %% [markdown]
# ### Exercise 2. The mean of more samples
# A perfect model draws samples from the truth's own distribution. With the variance 1 at a voxel, the expected squared
# error of one sample is 2 (the sample's variance and the truth's), and that of the mean of K samples is $1 + 1 / K$.
# Fill `gain` with two numbers, in decibels of PSNR: from one sample to the mean of 10, and to the mean of very many.
# %% tags=["solution"]
gain = [10 * np.log10(2 / 1.1), 10 * np.log10(2)]
# %% tags=["stub"]
gain = [..., ...]  # your code here
# %% tags=["wrong"]
gain = [10 * np.log10(10), np.inf]
# %% tags=["check"]
from course.checks import near

draws, unknown = np.random.default_rng(0), np.random.default_rng(1).standard_normal(200_000)
near(gain, 10 * np.log10([2 / (1 + 1 / k) for k in (10, 1e12)]), "10 log10 of the ratio of the two squared errors")
means = [np.mean([draws.standard_normal(200_000) for _ in range(k)], axis=0) for k in (1, 10)]
errors = [((mean - unknown) ** 2).mean() for mean in means]
print(f"drawn: {10 * np.log10(errors[0] / errors[1]):.2f} dB from 1 to 10")

# %% [markdown]
# ### Exercise 3. A state of the bridge
# The state of I2SB at step `k` is $\frac{\bar\sigma^2 x_0 + \sigma^2 x_1}{\sigma^2 + \bar\sigma^2}$ plus noise with the
# standard deviation $\sigma \bar\sigma / \sqrt{\sigma^2 + \bar\sigma^2}$. Fill `xt` [1, 1, X, Y, Z] from `x0`, `x1`, the
# standard normal `noise`, and the numbers `sigma` and `sigma_bar`.
# %% tags=["given"]
k = bridge.steps // 4
sigma, sigma_bar = float(bridge.sigma[k]), float(bridge.sigma_bar[k])
# %% tags=["solution"]
total = sigma**2 + sigma_bar**2
xt = (sigma_bar**2 * x0 + sigma**2 * x1) / total + sigma * sigma_bar / total**0.5 * noise
# %% tags=["stub"]
xt = ...  # your code here
# %% tags=["wrong"]
total = sigma**2 + sigma_bar**2
xt = (sigma**2 * x0 + sigma_bar**2 * x1) / total + sigma * sigma_bar / total**0.5 * noise
# %% tags=["check"]
from course.checks import near

near(
    xt,
    bridge.between(x0, x1, torch.tensor([k]), noise),
    "early (small sigma) the state is near x0: x0 has the weight sigma_bar^2",
)

# %% [markdown]
# ### Exercise 4. The weight of the absolute error
# pix2pix weighs the absolute error by 100. What would you expect of the weights 0 and 10 000?
#
# - a) 0: images that look true and may show another head; 10 000: a regression, towards the median.
# - b) 0: a regression; 10 000: images that look true.
# - c) No change: the discriminator decides.
# - d) 0: noise; 10 000: a sharper image.
#
# Fill `answer` with a letter in quotes.
# %% tags=["solution"]
answer = "a"
# %% tags=["stub"]
answer = ...  # your letter here
# %% tags=["wrong"]
answer = "d"
# %% tags=["check"]
from course.checks import choice

choice(answer, "a", "which of the two terms of the generator's loss is left in each case, and what does it ask for?")
