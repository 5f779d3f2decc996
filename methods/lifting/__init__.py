"""Methods that lift 2D joints into space."""
