"""Preparation of data sets of any origin in one layout, which `diffens_core.data.layout` describes."""
