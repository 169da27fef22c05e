"""A camera's pictures, classified as they come: in the terminal, in a window, for programs, and with commands."""
