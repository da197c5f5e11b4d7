# %% [markdown]
# ### Exercise 1. A score from a guess of the noise
# Networks predict noise, and much of the literature writes scores. Fill `score`, a tensor [401]: the score of $p_{100}$
# at the points `x`, made of nothing but `exact`'s guess of the noise (`on_points(exact, x, 100)`) and `sigma`.

# %% tags=["solution"]
score = -on_points(exact, x, 100) / sigma[100]

# %% tags=["stub"]
score = ...  # your code here

# %% tags=["wrong"]
score = on_points(exact, x, 100) / sigma[100]

# %% tags=["check"]
from course.checks import near

near(score, exact.at(100).score(x), "the score points uphill, the noise leads away: mind the sign, and divide by sigma")

# %% [markdown]
# ### Exercise 2. One DDIM step, written out
# `start` [samples] are values at step 300, and `tweedie` is their clean estimate. Fill `stepped` [samples]: the same
# values at step 100 after one deterministic DDIM step, from `start`, `tweedie` and `schedule.alpha_bar` alone.

# %% tags=["given"]
tweedie = schedule.x0_from_eps(on_points(exact, start, 300), start, torch.tensor([300]))

# %% tags=["solution"]
before, after = schedule.alpha_bar[300], schedule.alpha_bar[100]
eps_hat = (start - before.sqrt() * tweedie) / (1 - before).sqrt()
stepped = after.sqrt() * tweedie + (1 - after).sqrt() * eps_hat

# %% tags=["stub"]
stepped = ...  # your code here

# %% tags=["wrong"]
stepped = schedule.alpha_bar[100].sqrt() * tweedie

# %% tags=["check"]
from course.checks import near

step_of_ddim = ddim_step(schedule, start[None], tweedie[None], 300, float(schedule.alpha_bar[100]), 0.0, None)[0]
near(stepped, step_of_ddim, "solve Eq. 1 at step 300 for the noise, then put signal and noise together for step 100")

# %% [markdown]
# ### Exercise 3. The gate by Bayes' rule
# Fill `w` [401]: the weight that the model `low` deserves at each of the points `x` at step 50, as the probability
# that a value there comes from the bumps that it knows. Use `low.at(50).density(x)`, `high.at(50).density(x)`, and that
# three of five parts of the data are of `low`.

# %% tags=["solution"]
of_low, of_high = 0.6 * low.at(50).density(x), 0.4 * high.at(50).density(x)
w = of_low / (of_low + of_high)

# %% tags=["stub"]
w = ...  # your code here

# %% tags=["wrong"]
w = low.at(50).density(x) / (low.at(50).density(x) + high.at(50).density(x))

# %% tags=["check"]
from course.checks import near

shares = exact.at(50).shares(x)
near(w, shares[:3].sum(0), "weigh each density with the part of the data that it stands for before you divide")

# %% [markdown]
# ### Exercise 4. A residual for the lost bump
# `pair` knows neither bump 3 nor bump 5, and the best gate of the two, `ways["gate"]`, leaves an error at bump 5. Fill
# `residual` [401]: what must be added to the gate's guess of the noise at the points `x` at step 50, so that the sum is
# the exact guess ($\lambda = 1$ in Eq. 6).

# %% tags=["solution"]
residual = on_points(exact, x, 50) - on_points(ways["gate"], x, 50)

# %% tags=["stub"]
residual = ...  # your code here

# %% tags=["wrong"]
residual = on_points(exact, x, 50) - on_points(ways["average of scores"], x, 50)

# %% tags=["check"]
from course.checks import near

missing = on_points(exact, x, 50) - on_points(ways["gate"], x, 50)
near(residual, missing, "gate's guess plus residual must be the exact guess: subtract the gate's guess")
