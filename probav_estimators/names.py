"""Names of scenes, bands, estimators and files as text that can be shown."""

__all__ = ["printable"]


def printable(name: object) -> str:
    """Return a name as one line of printable text.

    Spaces, tabs and line breaks become one space each. Other characters that cannot be printed or
    that change the direction of text (control characters, surrogates of undecodable file names,
    overrides of right-to-left text) become the replacement character.

    Parameters
    ----------
    name : object
        Bytes are decoded as UTF-8; else the name is what it prints.

    Returns
    -------
    str

    Examples
    --------
    >>> from probav_estimators.names import printable
    >>> printable("two\\nlines")
    'two lines'
    """
    text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    if text.isprintable():
        return text
    letters = (" " if letter.isspace() else letter for letter in text)
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in letters
    )
