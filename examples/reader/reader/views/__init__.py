"""The pages: `pages` reads the database, `files` takes and gives files, `work` waits, streams and
computes."""
