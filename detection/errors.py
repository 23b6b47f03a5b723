"""The one error type of wrong input: what is wrong, where, what was expected and how to mend it."""


class InputError(ValueError):
    """A fault in what the user gave (data, image, checkpoint, folder), told in words the user can act on.

    The command line prints its text without a traceback; any other exception is a defect of this project.
    """
