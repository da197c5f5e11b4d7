"""The base class of all errors that a user can correct."""


class DiffensError(Exception):
    """An input cannot be used; the message says in one line what is wrong and what to do."""
