"""From rows of the papers' tables to trainings, tests and recorded results."""
