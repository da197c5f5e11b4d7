# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figure S5. Is a fusion better than the average that it fuses?
# Mean lead over subjects with its 95 % bootstrap interval, a shape per training seed; numbers are in Table S1. Subjects are
# the same for both, so leads are known far better than means. Fusions of experts of one modality each, which lead by much
# more, are in Table 3 and Table S1.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from diffens_core.show import plots
from figures.contents import MULTI, RIVALS
from figures.page import open_page
from figures.tables import IMAGE, leads, tasks_of

page = open_page("figure_s5_leads", preset, settings, data, runs)
print(page.about)

# %%
rivals = {ours: rival for ours, rival in RIVALS.items() if ours not in MULTI}
tables = leads(page.metrics, rivals, IMAGE[:2])
for column in (column for column in IMAGE[:2] if column.metric in tables):
    numbers, _ = tables[column.metric]
    panels = {title: numbers.xs(task) for task, title in tasks_of(numbers.reset_index()).items()}
    page.add_figure(
        f"figure_s5_{column.metric}",
        plots.leads(panels, f"lead in {column.heading}"),
    )
