"""Join: impressions and what came of them, from logs of their own, as samples with labels."""
