"""The whole reproduction: a graph of papermill runs, and a notebook per table and figure."""
