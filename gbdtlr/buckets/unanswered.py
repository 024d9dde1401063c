"""Unanswered: what is raised where a bucket does not answer; nothing is then known of the object that was asked for."""


class Unanswered(OSError):
    """A bucket did not answer, or not with what it was asked for."""
