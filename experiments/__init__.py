"""Where prediction meets measurement: one module a study, and the ``sslsim`` command."""
