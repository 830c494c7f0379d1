"""The mathematics of diffusion training as pure functions on tensors."""
