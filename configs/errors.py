"""The error of a wrong configuration: all its faults in one message."""


class ConfigError(ValueError):
    """A configuration that cannot be used.

    Attributes:
        faults: All that is wrong, one line each.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        return "\n  ".join([f"{count} in the configuration:", *self.faults])
