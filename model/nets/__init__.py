"""The networks. Those that color are modules from (N, 1, H, W) lightness to (N, 313, H/4, W/4) logits over the ab bins, or to
(N, 2, H/4, W/4) ab. Backbones give features, layer by layer, from RGB or lightness; a method puts its head on them."""
