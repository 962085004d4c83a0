"""Where prediction meets measurement: one package a subject, one module a command."""
