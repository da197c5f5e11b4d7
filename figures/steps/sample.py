# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Step: the samples of one method
# Draws what is missing and lists what there is. The files lie beside the runs, in a folder that is named by a hash of
# weights, data and settings.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
task: str = "sr"  # sr | mt | both, or such as t1->t2
method: str = "tpdm"
seed: int = 0  # of training and sampling
steps: int = 0  # of sampling; 0: the preset's
sampler: str = ""  # ddim, ddim:ETA, ancestral or dpm++; empty: the preset's
split: str = "test"
subjects: int = 0  # how many of them; 0: all
samples: int = 1  # of each subject
data: str = ""  # a prepared data set; empty: embedded phantoms
second: str = ""  # another prepared data set, to translate instead
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
out: str = ""  # where samples.csv goes

# %%
from pathlib import Path

from diffens_core import check_parameters
from diffens_core.show import plots
from diffens_core.experiment.experiment import open_experiment
from diffens_core.experiment.samples import Samples, draw
from diffens_core.support.files import write_atomically

check_parameters()
experiment = open_experiment(preset, seed, data, runs, second=second, steps=steps, sampler=sampler)
drawn = Samples(experiment, method, task)
table = draw(drawn, split, subjects, samples)
write_atomically(Path(out) / "samples.csv", table.to_csv(index=False, lineterminator="\n").encode())
table

# %%
pair = experiment.subjects(split, task)[0]
volumes = {f"sample {k}": volume[0].numpy() for k, volume in enumerate(drawn.of(pair, samples)[:3])}
truth, brain = pair.x0[0].numpy(), pair.brain.numpy()
figure = plots.three_planes(
    {"truth": truth, **volumes}, truth, plots.middle(brain), f"{method}, {task}, {pair.subject}"
)
