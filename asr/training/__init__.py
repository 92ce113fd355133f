"""Training: schedules, averaging, checkpoints, validation, and the thin Lightning module around the network."""
