"""Data sets of any origin to one prepared layout; see `data_prep.layout` for the layout itself."""
