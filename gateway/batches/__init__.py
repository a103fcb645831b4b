"""Files and batches: what a provider keeps and works off for a team, held, metered and settled."""
