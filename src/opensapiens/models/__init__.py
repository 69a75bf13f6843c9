"""Networks: the backbone, the dense head, the model of several heads, the masked autoencoder, what they cost."""
