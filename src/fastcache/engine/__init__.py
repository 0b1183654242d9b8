"""One request is one small state machine: serve, revalidate, fill, pass. The only place where storage and upstream meet."""
