"""Exercises of the notebooks: their one source is in `exercises/`; `build` makes notebooks, `checks` judges answers."""
