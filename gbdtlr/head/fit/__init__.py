"""The fit: the anchored objective of many settings at once, and the search for its minimum."""
