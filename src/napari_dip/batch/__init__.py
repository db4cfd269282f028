"""Tasks on files: one file, a folder of them, and several processes that share it."""
