"""One base for every error that is the user's to mend."""


class DiffensError(Exception):
    """Input that cannot be used, in one line that says what is wrong and what to do."""
