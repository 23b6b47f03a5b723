"""The errors that the command line tells without a traceback."""


class InputError(ValueError):
    """A fault in what the user gave (data, image, checkpoint, folder), told in words the user can act on.

    The text says what is wrong, where, what was expected and how to mend it. Any other exception is a defect.
    """


class NonFiniteLossError(Exception):
    """A loss that is not a number, caught before it reached the weights; no RuntimeError, as torch's faults are."""
