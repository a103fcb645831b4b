"""What an installation remembers beside its money: API keys, budgets that were set, alerts."""
