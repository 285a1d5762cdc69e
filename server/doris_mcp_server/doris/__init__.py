"""The way to Doris: what may be sent (`guard`), over which connection (`pool`), and what comes back (`rows`)."""
