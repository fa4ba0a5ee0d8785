"""Faults of old releases of the host, each mended only where it is found."""


def mend() -> None:
    """Mend what this environment needs."""
