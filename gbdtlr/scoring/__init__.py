"""Scoring: rows to probabilities by the live release, in a service or for whole files."""

from gbdtlr.scoring.files import score_file
from gbdtlr.scoring.refresher import Refresher
from gbdtlr.scoring.scorer import Scored, Scorer
from gbdtlr.scoring.user import User

__all__ = ["Refresher", "Scored", "Scorer", "User", "score_file"]
