"""RE2's regular expressions on Python's engine.

Apart from CEL, which is one of their users: who matches what a caller sends, or reads a schema, loads no language.
"""
