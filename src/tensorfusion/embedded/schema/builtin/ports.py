"""The names of ports, shared by containers, services and what calls them."""


def port_name(name: str) -> list[str]:
    """Complaints about the name of a port (an IANA service name)."""
    found: list[str] = []
    if len(name) > 15:
        found.append("must be no more than 15 characters")
    if not all(letter.isascii() and (letter.islower() or letter.isdigit() or letter == "-") for letter in name):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= letter <= "z" for letter in name):
        found.append("must contain at least one letter (a-z)")
    if "--" in name:
        found.append("must not contain consecutive hyphens")
    if name.startswith("-") or name.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found
