"""Methods that find 3D joints in an image."""
