"""What translates or judges: experts, averages, the fusion, and every method that they are compared with, each a
network with a purpose. It imports `networks` and what stands before it.
"""
