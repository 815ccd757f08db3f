"""The configure language: text for people, and the CIB elements that it stands for.

Theory of operation. A configuration text is a list of statements, one object each: `primitive web ocf:vigil:WebServer params port=80`.
`lexer` cuts a text into statements and words and remembers where each word stood. `statements` hands each statement to the parser of
its keyword, which builds the CIB element. Parsers invent no ids below the object's own: `ids` fills them in afterwards, from the element
that the new one replaces where the two correspond, else by convention; so an edited text changes in the CIB only what was edited.
`show` is the way back. Both directions of a construct live in one module (`attributes`, `rules`, `resources`, `constraints`,
`options`), because they must agree: the parse of what `show` prints is the same configuration. What the language cannot express is printed
as `xml <...>`, never dropped.

Nothing here reads a file, asks a daemon or judges a configuration as a whole (`crm.cib.verify` does); the parsers only refuse what is not the language.
"""
