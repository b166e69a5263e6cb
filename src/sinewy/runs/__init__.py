"""Studies: the disk is the ledger, the engine is a pump. No torch at import."""
