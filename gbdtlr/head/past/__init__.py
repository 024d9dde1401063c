"""The past: what a fit keeps of samples that are gone, and fits on it and new samples."""
