"""Gives the tests of this folder rows whose trainings are played."""

from tests.analysis.played import digits, play, root  # noqa: F401
