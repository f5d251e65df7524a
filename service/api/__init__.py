"""HTTP: takes photos in, tells how their jobs stand, hands out results. It never sees a tensor."""
