"""Ways to learn without labels: each a view, a head and a loss. They do not know one another, and the trainer knows none of them."""
