"""Networks: the heads, the model of one backbone and several heads, the masked autoencoder, what they cost."""
