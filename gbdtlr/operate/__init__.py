"""Operate: look at a store, go back, check it, tidy it."""
