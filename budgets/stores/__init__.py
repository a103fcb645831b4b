"""Stores that keep the ledger. Each implements `budgets.port.LedgerStore` and nothing else."""
