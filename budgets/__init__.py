"""Money: nano-dollars, token usage, prices, scopes and the ledger. The ground floor."""
