"""Files that appear whole or not at all, moves that can be taken back, and input that is not trusted."""
