"""What every other wing leans on and what knows nothing of medicine or networks: files, places, seeds, settings,
devices, progress, cost, errors. It imports none of the others.
"""
