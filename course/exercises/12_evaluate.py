# %% [markdown]
# ### Exercise 1. A little blur
# `volume` is a sample of `tpdm`. Blur it with a Gaussian of one voxel (`scipy.ndimage.gaussian_filter`) to `blurred`
# [X, Y, Z]; of its PSNR and its roughness, predict which rise and which fall. The check prints both.
# %% tags=["given"]
from scipy.ndimage import gaussian_filter

from diffens_core import Samples, image_metrics, roughness

pair = experiment.subjects(split, task)[0]
truth, brain = pair.x0[0].numpy(), pair.brain.numpy()
volume = Samples(experiment, "tpdm", task).of(pair, 1)[0, 0].numpy()
# %% tags=["solution"]
blurred = gaussian_filter(volume, 1.0)
# %% tags=["stub"]
blurred = ...  # your code here
# %% tags=["wrong"]
blurred = gaussian_filter(volume, (1.0, 1.0, 0.0))
# %% tags=["check"]
from course.checks import near

near(blurred, gaussian_filter(volume, 1.0), "the same Gaussian along all three axes")
for name, made in {"as drawn": volume, "blurred": blurred}.items():
    jumps = np.mean(roughness(made, brain)) / np.mean(roughness(truth, brain))
    print(f"{name}: PSNR {image_metrics(made, truth, brain)['psnr']:.2f} dB, roughness {jumps:.2f} of the truth's")

# %% [markdown]
# ### Exercise 2. Shifted slices
# Every axial slice of an error is a constant of its own, with standard deviation 2 (per cent of the range), and nothing
# else. Fill `jitters` with three numbers: the jitter that you expect along the axis of axial, coronal and sagittal
# slices.
# %% tags=["given"]
from diffens_core.evaluation.metrics import jitter

shifts = 2 * torch.randn(4096, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
error = shifts.expand(8, 8, -1)  # a long column, so that chance plays no part
# %% tags=["solution"]
jitters = [2.0, 0.0, 0.0]
# %% tags=["stub"]
jitters = [..., ..., ...]  # your numbers here
# %% tags=["wrong"]
jitters = [2.0, 2.0, 2.0]
# %% tags=["check"]
from course.checks import near

found = [jitter(error, torch.ones(error.shape, dtype=torch.bool), axis) for axis in (2, 1, 0)]
near(
    jitters,
    found,
    "jitter is the slices' standard deviation along their axis; nothing changes across it",
    tolerance=0.05,
)

# %% [markdown]
# ### Exercise 3. How many subjects at least?
# A method is ahead on every one of `n` subjects. In Wilcoxon's signed-rank test all $2^n$ choices of signs are equally
# likely by chance, and two of them are as extreme as this. Fill `p_six` with the p value for six subjects, and `enough`
# with the least number of subjects that can bring p below 0.001.
# %% tags=["solution"]
p_six = 2 / 2**6
enough = 11
# %% tags=["stub"]
p_six = ...  # your number here
enough = ...  # your number here
# %% tags=["wrong"]
p_six = 2 / 2**6
enough = 10
# %% tags=["check"]
from course.checks import answered, near
from diffens_core.evaluation.statistics import wilcoxon

answered(p_six, enough)
exact = {n: wilcoxon(np.arange(1, n + 1), np.zeros(n)) for n in range(5, 20)}
near(p_six, exact[6], "two of 64 choices of signs")
near(enough, min(n for n, p in exact.items() if p < 0.001), "2 / 2^n must be below 0.001", tolerance=1e-6)

# %% [markdown]
# ### Exercise 4. Without a truth
# Of a patient no true FLAIR was ever taken. Which of these can still be measured?
#
# - a) PSNR within the brain.
# - b) Whether the block means of the translation are those of the degraded FLAIR, and how much samples differ.
# - c) Jitter of the error.
# - d) SSIM, slice by slice.
#
# Fill `answer` with a letter in quotes.
# %% tags=["solution"]
answer = "b"
# %% tags=["stub"]
answer = ...  # your letter here
# %% tags=["wrong"]
answer = "c"
# %% tags=["check"]
from course.checks import choice

choice(answer, "b", "an error is a difference from the truth: which one needs none?")
