"""Analysis: what competitors publish, how it does, and where we stand among them."""
