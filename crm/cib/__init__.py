"""The CIB: Pacemaker's document of what is wanted (configuration) and what is (status).

`xml` reads and writes the text; `model`, `values`, `options`, `checks`, `verify` say what is right; `schema`, `upgrades` bring old syntax up;
`editor`, `operations`, `acl`, `nvpairs`, `patchset` change it; `wire`, `replica`, `lineage` keep the members' copies equal; `store` keeps them on disk.
"""
