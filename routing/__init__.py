"""Which model answers, and why. Pure: values in, a decision out."""
