"""The base class of all errors that a user can correct."""


class DiffensError(Exception):
    """An input cannot be used; the message says in one line what is wrong and what to do."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it: the one line, not the way that it took through the library."""
        return [f"{type(self).__name__}: {self}"]


class InputError(DiffensError, ValueError):
    """A value cannot be used where it was given."""


class MissingError(DiffensError, FileNotFoundError):
    """Something is not there, such as trained weights."""


class WriteError(DiffensError, OSError):
    """A file or a folder cannot be written, as on a full disk or a read-only one."""
