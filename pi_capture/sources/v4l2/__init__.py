"""USB cameras, through the kernel's V4L2 interface."""
