"""The local API: JSON in frames over a Unix socket. `client` and `aio` call, `server` answers, `errors` is what goes wrong."""
