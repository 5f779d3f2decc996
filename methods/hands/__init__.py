"""Methods that find the joints of a hand in a depth image."""
