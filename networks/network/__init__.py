"""The network that all of our kinds share: created, applied, trained and saved by the contract."""
