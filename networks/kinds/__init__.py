"""The kinds of networks: one file each, with the one definition of the weight change."""
