"""Losses that MMDetection builds from a config."""

from .base import RankingLoss

__all__ = ['RankingLoss']
