"""Training a net: what is done to photos, batch by batch."""
