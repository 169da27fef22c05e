"""Recordings from one machine to another while they are made. `receiver` is the source that receives them."""
