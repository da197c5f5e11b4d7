# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Step: the data
# Makes what is missing of the embedded phantoms, or looks at prepared data of your own. One line per subject that is
# made; subjects that are there are kept.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
second: int = 0  # 1: the second data set
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core import check_parameters
from diffens_core.show import plots
from diffens_core.data.layout import contrasts_in, read_participants
from figures.plan import open_plan

check_parameters()
plan = open_plan(preset, settings, data=data, runs=runs)
experiment = plan.experiment(second=bool(second))
if experiment.translated.root in experiment.phantoms:
    experiment.phantoms[experiment.translated.root].make(("train", "val", "test"))

# %%
print(experiment.translated)
table = read_participants(experiment.translated.folder)
print(table["split"].value_counts().to_string())

# %%
target, *others = contrasts_in(experiment.contrasts)
task = f"{'+'.join([f'{target}_lr', *others])}->{target}"  # all that there is
pair = experiment.subjects(table["split"].iloc[0], task)[0]
views = {"target": pair.x0[0].numpy(), **dict(zip(experiment.task(task).conditions, pair.y.numpy()))}
figure = plots.three_planes(views, title=pair.subject)
