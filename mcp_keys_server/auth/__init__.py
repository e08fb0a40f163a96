"""How a request proves who it is."""
