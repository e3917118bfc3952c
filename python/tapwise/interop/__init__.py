"""Other people's code on Tapwise's kernels; each module needs what it is named after, and is imported by its name."""
