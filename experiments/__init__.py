"""Programs that answer one question each; see README.md in this folder."""
