"""One request is one small state machine: serve, revalidate, fill, pass. Storage and upstream meet only here."""
