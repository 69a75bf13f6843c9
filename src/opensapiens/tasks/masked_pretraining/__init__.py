"""Masked-autoencoder pretraining: hidden patches of an image are predicted from the few that are seen."""
