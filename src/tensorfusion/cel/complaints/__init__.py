"""Complaints about text that is no expression, word for word those of a real server.

The parser stops at the first problem. Its text, and what else is wrong, follow from how the parser generator ANTLR goes
on after an error: it drops a token, makes one up, or skips to one that may follow. That is done here again, over the
same grammar, and only for text that the parser has refused.

Source: cel-go parser/gen/CEL.g4; ANTLR 4, "Automatic Error Recovery Strategy".
"""

from tensorfusion.cel.complaints.walk import complaints

__all__ = ["complaints"]
