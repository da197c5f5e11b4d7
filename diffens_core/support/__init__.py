"""General helpers of all other wings: files, folders, seeds, settings, devices, progress, cost, errors.

This wing knows nothing of medicine or networks, and imports none of the others.
"""
