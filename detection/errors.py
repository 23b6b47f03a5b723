"""The errors that the command line reports without a traceback."""


class InputError(ValueError):
    """A fault in what the user gave (data, image, checkpoint, folder), told in words the user can act on.

    The text says what is wrong, where, what was expected and how to mend it. Any other exception is a defect.
    """


class NonFiniteLossError(Exception):
    """A loss that is not a number, caught before it reached the weights; not a RuntimeError, unlike torch's errors."""
