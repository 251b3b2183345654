"""The routes, a module for each subject; each adds its own to a table."""
