"""A folder of photographs colored into another: what is found, made, recorded and named."""
