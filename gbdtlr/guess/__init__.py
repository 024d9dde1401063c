"""Guess: what the columns of files mean, and a config that says so, for somebody who has none yet."""
