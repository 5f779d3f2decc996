"""Methods that fit a body model to an image."""
