# %% [markdown]
# ### Exercise 1. Eq. 6 by hand
# `parts = fused["fusion"]` holds what the fusion makes of `xt` at step 250: `parts.eps_planes` [2, 32, 1, X, Y, 1],
# the experts' guesses of the noise; `parts.gate` [32, 2, X, Y, 1], their weights; `parts.resid` [32, 1, X, Y, 1], the
# residual, in the unit of $v$, so that it enters the noise times $\sqrt{\bar\alpha_t}$; $\lambda$ is 1. Fill `eps_hat`
# [32, 1, X, Y, 1], the fused guess of the noise.

# %% tags=["given"]
parts = fused["fusion"]

# %% tags=["solution"]
gated = parts.gate[:, :1] * parts.eps_planes[0] + parts.gate[:, 1:] * parts.eps_planes[1]
eps_hat = gated + float(schedule.alpha_bar[250].sqrt()) * parts.resid

# %% tags=["stub"]
eps_hat = ...  # your code here

# %% tags=["wrong"]
eps_hat = parts.eps_planes.mean(0) + parts.resid

# %% tags=["check"]
from course.checks import near

near(eps_hat, parts.eps, "weigh each expert's noise by its own channel of the gate; then add sqrt(alpha_bar) r")

# %% [markdown]
# ### Exercise 2. How streaky?
# An image without a preferred direction differs as much between its rows as between its columns. Fill `streaks`, a
# pair of numbers: the ratio of the mean absolute difference between rows to that between columns, of `samples["rows"]`
# and of `samples["truth"]` ([16, 1, X, Y, 1]; rows follow each other along Y).

# %% tags=["solution"]
streaks = [float(v.diff(dim=3).abs().mean() / v.diff(dim=2).abs().mean()) for v in (samples["rows"], samples["truth"])]

# %% tags=["stub"]
streaks = ...  # your code here

# %% tags=["wrong"]
streaks = [float(v.diff(dim=2).abs().mean() / v.diff(dim=3).abs().mean()) for v in (samples["rows"], samples["truth"])]

# %% tags=["check"]
from course.checks import near

ratios = (table["between rows"] / table["between columns"]).loc[["rows", "truth"]].tolist()
near(streaks, ratios, "rows have different Y, which is dimension 3; divide rows by columns")

# %% [markdown]
# ### Exercise 3. The best weight on lying bars
# `guess["rows"]` and `guess["columns"]` [32, 1, X, Y, 1] are the experts' clean estimates at step 250, `x0` the truth,
# and `places["lying bars"]` a mask. Fill `best`, a number: the weight of the rows with which
# `best * rows + (1 - best) * columns` has the least squared error within the mask. (Set the derivative to zero.)

# %% tags=["solution"]
rows, columns, wanted = (v[places["lying bars"]] for v in (guess["rows"], guess["columns"], x0))
best = float(((rows - columns) * (wanted - columns)).sum() / (rows - columns).square().sum())

# %% tags=["stub"]
best = ...  # your code here

# %% tags=["wrong"]
best = 0.5

# %% tags=["check"]
from course.checks import near

of_rows, of_columns = ((guess[name] - x0)[places["lying bars"]].double() for name in ("rows", "columns"))
difference = of_columns - of_rows  # the error is that of the columns, minus the weight times this difference
least = float((of_columns * difference).sum() / difference.square().sum())
near(best, least, "minimise |w (rows - columns) - (x0 - columns)|^2 over w, within the mask")
