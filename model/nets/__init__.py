"""The networks: each a module from (N, 1, H, W) lightness to (N, 313, H/4, W/4) logits over the ab bins, or to (N, 2, H/4, W/4) ab."""
