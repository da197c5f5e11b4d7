"""One base for every error that is the user's to mend."""


class DiffensError(Exception):
    """Input that cannot be used, in one line that says what is wrong and what to do."""


class InputError(DiffensError, ValueError):
    """A value that cannot be used where it was given."""


class MissingError(DiffensError, FileNotFoundError):
    """Something that is not there, such as trained weights."""
