"""The base class of all errors that a user can correct."""


class DiffensError(Exception):
    """An input cannot be used; the message says in one line what is wrong and what to do."""


class InputError(DiffensError, ValueError):
    """A value cannot be used where it was given."""


class MissingError(DiffensError, FileNotFoundError):
    """Something is not there, such as trained weights."""


class WriteError(DiffensError, OSError):
    """A file or a folder cannot be written, as on a full disk or a read-only one."""
