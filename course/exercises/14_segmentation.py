# %% [markdown]
# ### Exercise 1. Dice by hand
# `there` and `seen` are two regions, bool [20, 20, 20]. Fill `dice`, a number: twice the voxels that both have, divided by
# the sum of the two sizes.
# %% tags=["given"]
import numpy as np

there, seen = np.zeros((2, 20, 20, 20), bool)
there[4:12, 5:15, 5:15] = True
seen[6:14, 5:15, 7:15] = True
# %% tags=["solution"]
dice = 2 * (there & seen).sum() / (there.sum() + seen.sum())
# %% tags=["stub"]
dice = ...  # your code here
# %% tags=["wrong"]
dice = (there & seen).sum() / (there | seen).sum()
# %% tags=["check"]
from course.checks import near

overlap = np.count_nonzero(there * seen)
near(
    dice,
    overlap / (overlap + np.count_nonzero(there != seen) / 2),
    "2 |A and B| / (|A| + |B|); over the union it is Jaccard's",
)

# %% [markdown]
# ### Exercise 2. Three voxels
# An enhancing rim of three voxels is missed. Fill `dices` with two numbers: the Dice if these three are all that there is
# and nothing is found; and if they are the rest of a region of 3000 voxels whose others are found, with nothing besides.
# %% tags=["solution"]
dices = [0.0, 2 * 2997 / (3000 + 2997)]
# %% tags=["stub"]
dices = [..., ...]  # your code here
# %% tags=["wrong"]
dices = [0.0, 2 * 3 / (3000 + 3)]
# %% tags=["check"]
from course.checks import near

near(dices, [0.0, 2997 / 2998.5], "2 |A and B| / (|A| + |B|), with |A| = 3000 and |B| = 2997", tolerance=1e-5)
print("the same three voxels: all is lost, or nothing. A mean over subjects mixes both")

# %% [markdown]
# ### Exercise 3. A ratio of small differences
# The Dice with the degraded FLAIR is 0.78, with the true one 0.82, with a translation 0.80. Fill `recoveries` with two
# numbers, in per cent: its Recovery; and what it would be if the Dice of the translation were 0.01 higher.
# %% tags=["solution"]
recoveries = [100 * (0.80 - 0.78) / (0.82 - 0.78), 100 * (0.81 - 0.78) / (0.82 - 0.78)]
# %% tags=["stub"]
recoveries = [..., ...]  # your code here
# %% tags=["wrong"]
recoveries = [100 * 0.80 / 0.82, 100 * 0.81 / 0.82]
# %% tags=["check"]
from course.checks import near
from diffens_core.models.segmentation import recovery

truths = [float(recovery(*([value] for value in (made, 0.78, 0.82)))) for made in (0.80, 0.81)]
near(recoveries, truths, "0 % is the degraded FLAIR, 100 % the true one")

# %% [markdown]
# ### Exercise 4. Better than the truth?
# A translation has a higher Dice than the true FLAIR. What does it tell?
#
# - a) The translation shows more of the tumour than the scan.
# - b) The labels are wrong.
# - c) The judge errs on true images too; a smoother image, or chance with few subjects, can suit it better.
# - d) The translation was made from the labels.
#
# Fill `answer` with a letter in quotes.
# %% tags=["solution"]
answer = "c"
# %% tags=["stub"]
answer = ...  # your letter here
# %% tags=["wrong"]
answer = "a"
# %% tags=["check"]
from course.checks import choice

choice(
    answer,
    "c",
    "Dice is about the judge's outlines: what does the judge know, and can an image hold more than the truth?",
)
