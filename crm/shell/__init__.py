"""The `crm` command: what people type to see, configure and drive a cluster.

Theory of operation. `main` parses the command line over a tree of typer applications, one module of `commands` for each level, imported only when it is
used, so that `crm status` starts quickly. Without a command it is interactive: the same tree, a prompt, completion (`interactive`).
Commands know the cluster as a `session.Session`: the live one through the local API, or a CIB file (`CIB_file`), and tests use the latter.
The configure language is `grammar`; `configuration` edits a CIB as statements; `checks` says what is wrong before anything is committed; `status` reads a CIB
and what the daemon reports into a model and draws it.

Nothing here decides for the cluster: the shell asks, shows and writes the CIB.
"""
