"""Videos that other programs made, and videos for them."""
